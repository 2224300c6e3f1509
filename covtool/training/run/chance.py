"""Whether a model knows anything: it is compared with one that guesses."""

import math
from collections.abc import Mapping

_MARGIN = 1.01  # times the loss of a guess


def is_chance(figures: Mapping[str, float], num_classes: int) -> bool:
    """Whether a classifier is no better than the same answer to every image, and surer of it.

    Args:
        figures: ``top_1`` in percent and ``loss`` in nats; of a search, nothing is known.
        num_classes: That there are to guess from, equally often.
    """
    if num_classes < 2 or not figures.keys() >= {"top_1", "loss"}:
        return False
    right = figures["top_1"] > 100 / num_classes
    return not right and figures["loss"] > _MARGIN * math.log(num_classes)
