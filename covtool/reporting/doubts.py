"""What makes the figures of an evaluation doubtful, in sentences."""

from covtool.evaluation.classification.class_matching import GUESSED
from covtool.evaluation.evaluate import Evaluation
from covtool.evaluation.retrieve import Retrieval


def is_guessed(done: Evaluation) -> bool:
    """Return whether it is not known which output of the model is which class."""
    return done.class_order == "guessed"


def doubts(done: Evaluation) -> list[str]:
    """Return what must be known about the figures of a classifier."""
    far = (
        ["The images are far from those that the model was made for: the figures say little."]
        if done.far_from_training
        else []
    )
    guess = [f"Every figure is a guess: {GUESSED}."] if is_guessed(done) else []
    return [*far, *guess, *_left_out(len(done.unreadable)), *done.notes]


def search_doubts(done: Retrieval) -> list[str]:
    """Return what must be known about the figures of a search."""
    return [*_left_out(len(done.unreadable)), *done.notes]


def _left_out(count: int) -> list[str]:
    return [f"{count} unreadable images were left out."] * bool(count)
