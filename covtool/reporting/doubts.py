"""What makes the figures of an evaluation doubtful, in sentences."""

from collections.abc import Collection, Iterable

from covtool.data.datasets.found_images import counted
from covtool.evaluation.classification.class_matching import GUESSED
from covtool.evaluation.evaluate import Evaluation
from covtool.evaluation.model_request import FAR
from covtool.evaluation.retrieve import Retrieval


def is_guessed(done: Evaluation) -> bool:
    """Return whether it is not known which output of the model is which class."""
    return done.class_order == "guessed"


def doubts(done: Evaluation) -> list[str]:
    """Return what must be known about the figures of a classifier."""
    guess = [f"Every figure is a guess: {GUESSED}."] if is_guessed(done) else []
    return [*_far(done), *guess, *_left_out(done), *done.notes]


def doubts_of_other(done: Evaluation, other: Evaluation) -> list[str]:
    """Return what must be known about the figures of a model that another is compared with.

    Args:
        done: Evaluation of the model that the page is about.
        other: Evaluation of the one that it is compared with.
    """
    apart = []
    if done.attack is not None and other.attack is None:
        apart.append(
            "This model was not attacked: its figures, and the comparison of both, are of the "
            "images as they are."
        )
    if done.unknown is not None and other.unknown is None:
        apart.append(
            "This model was not given the images of --unknown: what is said of them is about the "
            "first model alone."
        )
    return [*apart, *doubts(other)]


def search_doubts(done: Retrieval) -> list[str]:
    """Return what must be known about the figures of a search."""
    without = []
    if count := done.result.left_out:
        have, do = ("have", "do") if count > 1 else ("has", "does")
        without.append(f"{counted(count, 'query')} {have} no match and {do} not count.")
    return [*_far(done), *without, *_left_out(done), *done.notes]


def other_doubts(name: str, found: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the doubts about another model, by its name; those that hold for both are said once.

    Args:
        name: Name of the other model.
        found: Its doubts.
        known: Doubts about the first model, which the head of the page has.
    """
    return [f"{name}: {doubt}" for doubt in found if doubt not in known]


def _far(done: Evaluation | Retrieval) -> list[str]:
    if not done.far_from_training:
        return []
    return [FAR]


def _left_out(done: Evaluation | Retrieval) -> list[str]:
    if not (count := len(done.unreadable)):
        return []
    return [f"{counted(count, 'unreadable image')} {'were' if count > 1 else 'was'} left out."]
