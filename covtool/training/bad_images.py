"""What a run says about images that went bad while it was under way."""

from functools import partial
from typing import TYPE_CHECKING

from covtool.data.unreadable import Unreadable

if TYPE_CHECKING:
    from covtool.training.fit import Run

REPLACED = "another image takes its place"
LEFT_OUT = "the evaluation does without it"


def watch_images(run: "Run") -> None:
    """Count the training images that are replaced in mid-epoch; note every bad image once."""
    noted: set[str] = set()

    def note(instead: str, unreadable: Unreadable) -> None:
        run.state.replaced += instead == REPLACED
        if unreadable.path not in noted:
            noted.add(unreadable.path)
            what = f"{unreadable.path} cannot be read any more; {instead}."
            run.observer.on_note(f"{what} {unreadable.reason}")

    run.parts.training_batches.on_unreadable = partial(note, REPLACED)
    run.parts.validation_batches.on_unreadable = partial(note, LEFT_OUT)
