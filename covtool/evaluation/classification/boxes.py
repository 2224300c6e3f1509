"""Whether a model is measured on such images as it was trained on: whole, or in their boxes."""

from collections.abc import Sequence

from covtool.specs import LayoutSpec

BOXES = "--crop boxes"


def note_on_boxes(history: Sequence[str], choice: LayoutSpec) -> str | None:
    """What differs between the images of a training and those to be measured on; None for nothing.

    Args:
        history: Of the model; see `covtool.specs.recipe.Provenance`.
        choice: How the data set is read.
    """
    trained = next((line for line in reversed(history) if " on " in line.split(":")[0]), None)
    if trained is None or (BOXES in trained) == (choice.crop == "boxes"):
        return None
    if choice.crop == "boxes":
        return f"The model was trained on whole images, and is measured with {BOXES}."
    return f"The model was trained with {BOXES}, and is measured on whole images."
