"""A note where a model is measured on other images than it was trained on: whole, or in boxes."""

from collections.abc import Sequence

from covtool.specs import LayoutSpec
from covtool.specs.provenance import Step
from covtool.specs.training_history import trained_in_boxes

BOXES = "--crop boxes"


def note_on_boxes(steps: Sequence[Step], choice: LayoutSpec) -> str | None:
    """Return what differs between the images of the last training and those to be measured on.

    Args:
        steps: History of the model; see `covtool.specs.provenance.Provenance`.
        choice: Choices in reading the data set.

    Returns:
        A sentence; None where nothing differs, or the model was not trained.
    """
    trained = trained_in_boxes(steps)
    if trained is None or trained == (choice.crop == "boxes"):
        return None
    if choice.crop == "boxes":
        return f"The model was trained on whole images, and is measured with {BOXES}."
    return f"The model was trained with {BOXES}, and is measured on whole images."
