"""The figures of a classifier, without an attack and with one, in as many passes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from covtool.data.loading.loaders import ImageLoader
from covtool.evaluation.classification.accuracy import ClassificationResult
from covtool.evaluation.classification.answers import AnswerKeeper, ImageAnswers, joined_answers
from covtool.evaluation.classification.attacker import Attacker
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.processes import Processes
from covtool.specs import AttackSpec, InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of a model, and what came up while its images were read.

    Attributes:
        result: The figures.
        attacked: The figures under attack; None without one.
        attack_note: Doubt about the attack, as a sentence; None without one.
        unreadable: Records that could not be read.
        distances: Distance of each image to the training embeddings; None where the file keeps
            none, or they are not asked for.
        answers: Answer for each image; None where none are kept.
        attacked_answers: The same under attack.
    """

    result: ClassificationResult
    attacked: ClassificationResult | None
    attack_note: str | None
    unreadable: tuple[tuple[Path, str], ...]
    distances: Tensor | None = None
    answers: ImageAnswers | None = None
    attacked_answers: ImageAnswers | None = None


def measure_classifier(  # noqa: PLR0913 -- what is measured, and all that is noted on the way
    measure: Callable[..., ClassificationResult],
    loader: ImageLoader,
    attack: AttackSpec | None,
    input: InputSpec,
    processes: Processes,
    scorer: NeighborScorer | None = None,
    keeper: Callable[..., AnswerKeeper] | None = None,
) -> Measured:
    """Return the figures without an attack, and with it.

    Args:
        measure: Evaluation of the model; takes ``keep`` and ``perturb``.
        loader: The images.
        attack: Attack to measure under as well.
        input: What the model expects of images.
        processes: Processes that have a share of the images each.
        scorer: Collects distances to training embeddings in the pass without an attack.
        keeper: Makes a keeper of the answers for each pass.
    """
    # Records are not checked beforehand; both passes report the same ones, each counts once.
    left_out: dict[str, str] = {}
    loader.on_unreadable = lambda image: left_out.setdefault(*image)
    distances = None
    measured = partial(_kept, measure, keeper, processes)
    if scorer is None:
        result, answers = measured()
    else:
        with scorer:
            result, answers = measured()
        distances = torch.cat(processes.each(scorer.take))
    attacked = attacked_answers = note = None
    if attack is not None:
        attacker = Attacker(attack, input, first=loader.first_image)
        # A second pass over the same images: figures with and without are of the same model.
        attacked, attacked_answers = measured(perturb=attacker)
        attacker.sum_over(processes)
        note = attacker.note
    late = chain.from_iterable(processes.each(lambda: list(left_out.items())))
    return Measured(
        result=result,
        attacked=attacked,
        attack_note=note,
        distances=distances,
        answers=answers,
        attacked_answers=attacked_answers,
        unreadable=tuple((Path(path), reason) for path, reason in late),
    )


def _kept(
    measure: Callable[..., ClassificationResult],
    keeper: Callable[..., AnswerKeeper] | None,
    processes: Processes,
    **settings: Attacker,
) -> tuple[ClassificationResult, ImageAnswers | None]:
    """Return the figures, and the answers where they are to be kept."""
    if keeper is None:
        return measure(**settings), None
    # Inputs are those of the images as they are, not under an attack.
    with keeper(**({"inputs": False} if settings else {})) as kept:
        result = measure(keep=kept, **settings)
    return result, joined_answers(processes.each(kept.take))
