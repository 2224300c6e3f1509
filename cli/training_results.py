"""What the commands that train show: a result, several, a plan, a learning rate."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from covtool.figure_names import figure_title
from covtool.run_files import RATES
from covtool_cli import launching

if TYPE_CHECKING:
    from covtool.training import DryRunResult, FinetuneResult, FoundRate, RepeatsResult

NAMES_SHOWN = 3


def show_result(
    result: "FinetuneResult | RepeatsResult",
    show: Callable[["FinetuneResult"], None],
    *,
    as_json: bool,
) -> None:
    """Show what came of training: of one run by its command's `show`, of several here."""
    from covtool.training import RepeatsResult
    from covtool_cli import render

    if as_json:
        render.json_object(result)
    elif isinstance(result, RepeatsResult):
        _show_repeats(result)
    else:
        show(result)


def _show_repeats(result: "RepeatsResult") -> None:
    from covtool.run_files import doubts_of
    from covtool.training.repeats.outcome import doubts_in
    from covtool_cli import render
    from covtool_cli.progress import duration, metric_words

    name, figure = metric_words(result.metric)
    doubts = [
        doubts_of(is_chance=run.is_chance, stopped_early=run.stopped_early) for run in result.runs
    ]
    has_doubts = any(doubts)
    best, last = (f"{which}_eval_{result.metric}" for which in ("best", "last"))
    render.table(
        "Runs",
        ("run", f"best {name}", "epoch", f"last {name}", *["remark"] * has_doubts),
        [
            (
                run.run.name,
                figure.format(run.figures[best]),
                run.best_epoch,
                figure.format(run.figures[last]),
                *[doubt] * has_doubts,
            )
            for run, doubt in zip(result.runs, doubts, strict=True)
        ],
    )
    render.table(
        f"Over {render.counted(len(result.runs), 'run')}",
        ("figure", "mean", "standard deviation"),
        [
            (figure_title(name), spread.mean, spread.deviation)
            for name, spread in result.figures.items()
        ],
    )
    for sentence in doubts_in(result.runs):
        render.line(sentence)
    render.pairs(
        "",
        [
            ("time", duration(result.seconds)),
            ("runs", result.directory),
            *([("predictions", result.predictions)] if result.predictions else []),
        ],
    )


def result_rows(result: "FinetuneResult", *, early: str) -> list[tuple[str, object]]:
    """Return the result of a run as names and values.

    Args:
        result: Result of the run.
        early: Words for an end before the last epoch.
    """
    from covtool_cli.progress import duration, metric_words

    name, figure = metric_words(result.metric)
    guess = ", no better than a guess" if result.is_chance else ""
    return [
        (f"best {name}", f"{figure.format(result.best)} (epoch {result.best_epoch}){guess}"),
        (f"last {name}", f"{figure.format(result.last)} (epoch {result.epochs})"),
        *([("ended", early)] if result.stopped_early else []),
        ("time", duration(result.seconds)),
        ("run", result.directory),
        *((_model_row(kind, result), path) for kind, path in result.exported.items()),
    ]


def _model_row(kind: str, result: "FinetuneResult") -> str:
    """Return the row's name of an exported model; one that is a guess is not called the best."""
    return "least bad model" if kind == "best" and result.is_chance else f"{kind} model"


def show_plan(result: "DryRunResult", *, as_json: bool) -> None:
    """Show what a run would do."""
    from covtool_cli import render

    if as_json:
        render.json_object(result)
        return
    plan = result.plan
    if plan.phases:
        render.table(
            "Phases",
            ("phase", "epochs", "lr"),
            [(p.label, f"{p.start + 1} to {p.end}", p.lr) for p in plan.phases],
        )
    render.table(
        "Parameter groups",
        ("part", "tensors", "parameters", "lr", "weight decay", "names"),
        [
            (g.part, len(g.names), g.num_parameters, g.lr, g.weight_decay, _names(g.names))
            for g in result.groups
        ],
    )
    render.pairs(
        "Dry run: nothing was written",
        [
            ("images to train on", plan.training_images),
            (f"images to {'search' if plan.phases else 'validate on'}", plan.validation_images),
            ("classes", plan.num_classes),
            ("epochs", plan.epochs),
            ("updates per epoch", plan.updates_per_epoch),
            ("device", plan.device),
            ("loss of the first update", result.loss),
            ("seconds for it", result.seconds),
            ("peak memory, MiB", result.peak_memory_mib),
        ],
    )


def show_rate(result: "FoundRate", *, as_json: bool) -> None:
    """Show the learning rate that a range test suggests, and draw the test."""
    from covtool_cli import render
    from covtool_cli.learning_rate_figure import draw

    # Of several processes the first one draws, as it alone writes.
    figure = None
    if launching.is_main():
        figure = draw(result.directory, result.points, lr=result.lr, largest=result.largest)
    if as_json:
        render.json_object(result)
        return
    render.pairs(
        "Range test: nothing was trained",
        [
            ("suggestion", f"--lr {result.lr:g}"),
            ("rule", result.lr_rule),
            ("that rate", f"{result.largest:.2g}"),
            ("updates", len(result.points) - 1),
            ("points", result.directory / RATES),
            *([("figure", figure)] if figure else []),
        ],
    )


def _names(names: tuple[str, ...]) -> str:
    more = f", ... ({len(names)})" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
