"""Images that go bad while a run is under way: counted, and noted once each."""

from functools import partial

from covtool.data.loading.batches import Unreadable
from covtool.training.run.run import Run

BRING_BACK = "Restore the image, or add --on-bad-image skip: another image then takes its place."
REPLACED = "another image takes its place"
LEFT_OUT = "the evaluation does without it"
NOT_SOLVED_WITH = "the classifier is solved without it"


def watch_images(run: Run) -> None:
    """Remember images that are replaced in mid-epoch, or left out, until they are noted."""
    pending_warnings = run.state.pending_warnings
    solved = () if run.parts.solved is None else ((run.parts.solved.batches, NOT_SOLVED_WITH),)
    for batches, instead in (
        (run.parts.training_batches, REPLACED),
        (run.parts.validation_batches, LEFT_OUT),
        *solved,
    ):
        batches.on_unreadable = partial(_remember, pending_warnings, instead)


def note_bad_images(run: Run) -> None:
    """Count the training images that were replaced, in all processes; note each image once.

    All processes must call this.
    """
    state = run.state
    # Each process reads images of its own; the state that is saved counts those of all.
    warnings = run.parts.processes.each(partial(list, state.pending_warnings))
    state.pending_warnings.clear()
    for instead, unreadable in (one for of_process in warnings for one in of_process):
        state.replaced += instead == REPLACED
        if unreadable.path not in state.noted:
            state.noted.add(unreadable.path)
            what = f"{unreadable.path} cannot be read any more; {instead}."
            run.observer.on_note(f"{what} {unreadable.reason}")


def _remember(
    pending_warnings: list[tuple[str, Unreadable]], instead: str, unreadable: Unreadable
) -> None:
    pending_warnings.append((instead, unreadable))
