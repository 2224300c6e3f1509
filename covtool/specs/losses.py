"""The losses by name, and sums of them, as ``ce+0.5*triplet``."""

import re
from dataclasses import dataclass
from typing import Literal

from covtool.errors import ArgumentError
from covtool.registry import Registry
from covtool.specs.record import PositiveFloat, Record

# A name is whatever is no space, star or plus: the table then suggests the nearest.
_TERM = re.compile(r"(?:(?P<weight>\d+\.?\d*|\.\d+)\s*\*\s*)?(?P<name>[^\s*+]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """A row of the table of losses; `covtool.training.parts.objective` has the functions.

    Attributes:
        name: Word for it in ``--loss``.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        needs: Input beside the labels: logits, or embeddings, which the classifier gets.
    """

    name: str
    summary: str
    source: str
    needs: Literal["logits", "embeddings"]


LOSSES = Registry(
    "loss",
    (
        LossRow(
            name="ce",
            summary="Cross entropy, with --smoothing.",
            source="the usual; timm's where targets are smoothed or mixed",
            needs="logits",
        ),
        LossRow(
            name="bce",
            summary="Binary cross entropy of each class against the rest, with --smoothing.",
            source="Wightman, Touvron, Jégou. ResNet strikes back, 2021; timm",
            needs="logits",
        ),
        LossRow(
            name="triplet",
            summary="Hardest positive against hardest negative of each image in the batch.",
            source="Hermans, Beyer, Leibe. In Defense of the Triplet Loss, 2017",
            needs="embeddings",
        ),
        LossRow(
            name="circle",
            summary="All positives against all negatives, each weighted by how far it has to go.",
            source="Sun et al. Circle Loss, CVPR 2020",
            needs="embeddings",
        ),
    ),
)


class LossTerm(Record):
    """A loss of the table and its factor in the sum."""

    name: str
    weight: PositiveFloat = 1.0


def parse_loss(text: str) -> tuple[LossTerm, ...]:
    """Return the terms of ``NAME`` or ``WEIGHT*NAME``, joined by ``+``.

    Raises:
        ArgumentError: It is written differently, a weight is zero, or a name comes twice.
        UnknownVariantError: A name is not in `LOSSES`.

    Example:
        >>> [(term.name, term.weight) for term in parse_loss("ce + 0.5*triplet")]
        [('ce', 1.0), ('triplet', 0.5)]
    """
    terms = tuple(_term(part.strip(), text) for part in text.split("+"))
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise ArgumentError(
            f"--loss {text} has a term twice.", hint="Give it once, with the sum of the weights."
        )
    return terms


def _term(part: str, text: str) -> LossTerm:
    found = _TERM.fullmatch(part)
    if found is None:
        raise ArgumentError(
            f"{part!r} is not a term of a loss (--loss {text!r}).",
            hint="Write NAME or WEIGHT*NAME, joined by +, like ce+0.5*triplet.",
        )
    # The name first: an unknown loss is the better message than its weight.
    name, weight = LOSSES[found["name"]].name, float(found["weight"] or 1)
    if weight == 0:
        raise ArgumentError(
            f"The term {part!r} of --loss {text} has no effect.", hint="Leave it out."
        )
    return LossTerm(name=name, weight=weight)
