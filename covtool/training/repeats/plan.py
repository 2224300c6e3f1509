"""The runs that a request with ``--seeds`` and ``--folds`` asks for."""

from dataclasses import dataclass

from covtool.checkpoints.places import stem_of
from covtool.errors import ArgumentError
from covtool.specs import FinetuneRequest, RepeatSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One of several runs.

    Attributes:
        seed: Seed of its random numbers.
        fold: The fold that it holds out, counted from 1; None for a run without folds.
        name: Name of its folder.
    """

    seed: int
    fold: int | None
    name: str


def plan_repeats(request: FinetuneRequest) -> tuple[Repeat, ...]:
    """Return the runs that a request asks for: every seed on every fold.

    Raises:
        ArgumentError: It asks for a single run.
    """
    spec, first = request.repeats, request.training.seed
    if not spec.is_several:
        raise ArgumentError("A run is repeated with --seeds N, --folds N, or both.")
    seeds = range(first, first + (spec.seeds or 1))
    folds = [spec.fold] if spec.fold or not spec.folds else range(1, spec.folds + 1)
    return tuple(
        Repeat(seed=seed, fold=fold, name=_name(spec, seed, fold))
        for seed in seeds
        for fold in folds
    )


def request_of(repeat: Repeat, request: FinetuneRequest, experiment: str) -> FinetuneRequest:
    """Return the request of one of several runs, which starts it alone as well.

    Args:
        repeat: The run.
        request: Request of all of them.
        experiment: Name of their folder.
    """
    folds = request.repeats.folds
    return request.model_copy(
        update={
            "training": request.training.model_copy(update={"seed": repeat.seed}),
            "repeats": RepeatSpec(folds=folds, fold=repeat.fold),
            # Its own args.yaml makes a run beside the folder of them all, not in it.
            "experiment": f"{experiment}-{repeat.name}",
        }
    )


def name_of(request: FinetuneRequest) -> str:
    """Return the name of the folder of several runs, where none is taken by that name yet."""
    return request.experiment or stem_of(request.model or request.init_from or "")


def _name(spec: RepeatSpec, seed: int, fold: int | None) -> str:
    parts = [f"seed-{seed}"] if spec.seeds else []
    return "-".join([*parts, f"fold-{fold}"] if fold else parts)
