"""What a run says about images that went bad while it was under way."""

from functools import partial
from typing import TYPE_CHECKING

from covtool.data.unreadable import Unreadable

if TYPE_CHECKING:
    from covtool.training.fit import Run

REPLACED = "another image takes its place"
LEFT_OUT = "the evaluation does without it"


def watch_images(run: "Run") -> None:
    """Remember images that are replaced in mid-epoch, or left out, until they are told of."""
    untold = run.state.untold
    for batches, instead in (
        (run.parts.training_batches, REPLACED),
        (run.parts.validation_batches, LEFT_OUT),
    ):
        batches.on_unreadable = partial(_remember, untold, instead)


def tell_of_bad_images(run: "Run") -> None:
    """Count the training images that were replaced, in all processes; note each image once.

    All processes must call this.
    """
    state = run.state
    found = run.parts.processes.each(partial(list, state.untold))
    state.untold.clear()
    for instead, unreadable in (one for of_process in found for one in of_process):
        state.replaced += instead == REPLACED
        if unreadable.path not in state.noted:
            state.noted.add(unreadable.path)
            what = f"{unreadable.path} cannot be read any more; {instead}."
            run.observer.on_note(f"{what} {unreadable.reason}")


def _remember(untold: list[tuple[str, Unreadable]], instead: str, unreadable: Unreadable) -> None:
    untold.append((instead, unreadable))
