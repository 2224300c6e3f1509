"""The curves of a run for trackers: their names, and their values at an update or an epoch."""

from covtool.training.run.records import COLUMNS, EpochRecord, StepRecord


def step_curves(record: StepRecord) -> dict[str, float]:
    """Return the values of an update; what it has none of is left out."""
    values = {
        "train/loss": record.loss,
        **{f"train/{name}": value for name, value in record.losses.items()},
        "train/lr": record.lr,
        "train/grad_norm": record.grad_norm,
        "train/grad_norm_centralized": record.grad_norm_centralized,
        "train/images_per_s": record.images_per_s,
    }
    return {name: value for name, value in values.items() if value is not None}


def epoch_curves(record: EpochRecord) -> dict[str, float]:
    """Return the values of an epoch; what it has none of is left out."""
    named = {COLUMNS[name].removeprefix("eval_"): v for name, v in record.figures.items()}
    values = {f"eval/{name}": value for name, value in named.items()}
    if record.phase is not None:
        values["train/correlation"] = record.phase.correlation
    return values
