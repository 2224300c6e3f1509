"""The state of a run: everything that it needs to go on where it stopped."""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from covtool.checkpoints.unpickling import load_own_file
from covtool.data.loading.batches import Unreadable
from covtool.errors import ArgumentError, CheckpointError, CovtoolError, DataError
from covtool.printable import printable
from covtool.run_files import RECIPE
from covtool.specs import Recipe
from covtool.specs.recipe_reading import recipe_of
from covtool.training.parts.assembly import Parts
from covtool.training.run.random_state import capture_generators, set_generators
from covtool.training.run.state_content import ContentError, progress_of
from covtool.training.run.state_fit import require_fit

STATE_VERSION = 2
# Kept elsewhere, or of this process only.
NOT_SAVED = ("generators", "failed_saves", "pending_warnings", "noted")
SAVED_AS = {"schedule_offset": "lead"}  # the key that states of every version have


@dataclass(kw_only=True)
class RunState:
    """The progress of a run.

    Attributes:
        epoch: Epochs done.
        step: Updates done in the epoch after those.
        updates: Updates done in all.
        loss_sum: Sum of the losses of the images of the epoch that is under way.
        images: Number of those images.
        values: The metric of each epoch done, more being better; None where none was measured.
        chance: Whether each epoch done was no better than a guess; of a run that was saved before
            this was noted, of the later ones only.
        correlations: S(W) after each epoch done, of a run in phases.
        entered: Epochs that were begun, so that what comes before their first update was done.
        seconds: Time spent so far.
        unsaved: Epochs, counted from 1, whose model could not be written: none of them is the best.
        nonfinite: Updates that were not finite, and that the run survived.
        replaced: Images of the epoch under way that others took the place of.
        world: Processes that it was saved by.
        schedule_offset: Updates that the schedule is ahead of those done, since the number of
            processes changed.
        micro_batch: Images that go through the model together, where a batch does not fit into
            memory.
        generators: States of the random number generators that are yet to be restored, or None.
        failed_saves: Attempts to save that failed in a row; not part of what is saved.
        pending_warnings: Images of this process that could not be read any more, each with what
            was done about it; not part of what is saved.
        noted: Paths of images that a note was written about; not part of what is saved.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    images: int = 0
    values: list[float | None] = field(default_factory=list)
    chance: list[bool] = field(default_factory=list)
    correlations: list[float] = field(default_factory=list)
    entered: int = 0
    seconds: float = 0.0
    unsaved: list[int] = field(default_factory=list)
    nonfinite: int = 0
    replaced: int = 0
    world: int = 1
    schedule_offset: int = 0
    micro_batch: int | None = None
    generators: dict[str, Any] | None = None
    failed_saves: int = 0
    pending_warnings: list[tuple[str, Unreadable]] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch has begun that is not done."""
        return self.step > 0 or self.entered > self.epoch

    @property
    def best_epoch(self) -> int:
        """The best epoch that could be saved, counted from 1; the first of equals; 0 for none."""
        return next(iter(self.ranking()), 0)

    def is_chance(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 1, is known to be no better than a guess."""
        at = len(self.chance) - (self.epoch - epoch) - 1
        return at >= 0 and self.chance[at]

    def ranking(self) -> list[int]:
        """Return the epochs that were measured, the best first; those not saved come last."""
        epochs = (e for e, value in enumerate(self.values, start=1) if value is not None)
        return sorted(epochs, key=lambda e: (e in self.unsaved, -self.values[e - 1], e))

    def restore_generators(self) -> None:
        """Set the random number generators, once, to what they were when this was saved."""
        if self.generators is not None:
            set_generators(self.generators)
            self.generators = None


def capture(parts: Parts, state: RunState) -> dict[str, Any]:
    """Return a run as tensors and plain values, which load with ``weights_only=True``.

    Every process must call this: the random states of all are part of it.
    """
    return {
        "version": STATE_VERSION,
        "progress": {SAVED_AS.get(k, k): v for k, v in asdict(state).items() if k not in NOT_SAVED},
        "data": parts.fingerprints,
        "model": parts.model.state_dict(),
        "model_ema": None if parts.ema is None else parts.ema.module.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "gradient_centralization": parts.training.centralized,
        "generators": parts.processes.each(capture_generators),
        "recipe": _recipe_in_use(parts, state).model_dump(mode="json"),
    }


def restore_(parts: Parts, path: Path) -> RunState:
    """Bring freshly assembled parts to where a saved run was.

    The learning rates are those of the parts' own schedule at that update: it may have been given
    another number of epochs. The file is read by the first process, for all.

    Raises:
        CheckpointError: The file cannot be read, or is of another model or optimizer, or of one
            whose gradients were centralized otherwise.
        ArgumentError: The run's recipe is another than the one that it was saved with.
        DataError: The images are others than those that it was trained on.
    """
    payload = parts.processes.main(partial(_read, path))
    try:
        # Everything is checked before anything is loaded: parts half restored could be trained on.
        state = RunState(**progress_of(payload, STATE_VERSION))
        require_fit(parts, payload)
        _require_same_data(parts, payload["data"])
        _require_same_recipe(parts, state, payload.get("recipe"))
        _require_same_centralization(parts, payload["gradient_centralization"])
        _load(parts, payload)
    except ContentError as problem:
        raise _unusable(path, str(problem)) from problem
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as problem:
        if isinstance(problem, CovtoolError):
            raise
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise _unusable(path, f"It does not fit the run: {printable(first)}") from problem
    # Another number of processes draws other random numbers anyway; see `start`.
    if state.world == parts.processes.world:
        state.generators = payload["generators"][parts.processes.rank]
    parts.schedule.offset = state.schedule_offset
    parts.schedule.set_updates(state.updates)  # over the rates that the optimizer's state holds
    return state


def _load(parts: Parts, payload: dict[str, Any]) -> None:
    parts.model.load_state_dict(payload["model"])
    if parts.ema is not None:
        parts.ema.module.load_state_dict(payload["model_ema"])
    parts.optimizer.load_state_dict(payload["optimizer"])
    parts.scaler.load_state_dict(payload["scaler"])


def _read(path: Path) -> Any:
    try:
        return load_own_file(path)
    except CheckpointError as problem:
        raise _unusable(path, problem.reason or problem.message) from problem


def _unusable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} cannot be resumed from.", reason=reason)


def _require_same_centralization(parts: Parts, then: Any) -> None:
    # Moments of centralized gradients would go on with gradients that are not.
    now = parts.training.centralized
    if not isinstance(then, str | None) or then != now:
        what = printable(str(then)) if isinstance(then, str) and then else "nothing"
        raise ContentError(
            "gradient_centralization",
            f"Centralized was {what}, and now it is {now or 'nothing'}.",
        )


def _recipe_in_use(parts: Parts, state: RunState) -> Recipe:
    """Return the recipe with the head that the model has after the updates that are done."""
    return parts.recipe_at(max(state.epoch + state.in_epoch - 1, 0))


def _require_same_recipe(parts: Parts, state: RunState, then: Any) -> None:
    """Refuse another recipe: other means of the channels, say, would train on without a word."""
    if then is None:  # a state of an old version
        return
    saved, now = recipe_of(then), _recipe_in_use(parts, state)
    if saved == now:
        return
    differing = [name for name in Recipe.model_fields if getattr(saved, name) != getattr(now, name)]
    raise ArgumentError(
        f"The {RECIPE} of the run is not the one that it was saved with.",
        reason=f"What differs: {', '.join(differing)}.",
        hint=f"Bring {RECIPE} back as it was, or start a new run from these weights: --init-from.",
    )


def _require_same_data(parts: Parts, then: dict[str, str]) -> None:
    for split, saved in then.items():
        now = parts.fingerprints[split]
        if now != saved:
            raise DataError(
                f"The {split} images have changed since the run was saved.",
                reason=f"Files and labels then: {printable(saved)}; now: {now}.",
                hint="Bring the data back as it was, or start a new run from these weights: "
                "--init-from.",
            )
