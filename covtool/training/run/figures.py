"""What is measured after an epoch, and the columns of summary.csv that hold it."""

from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = {
    "top_1": "eval_top1",
    "top_5": "eval_top5",
    "loss": "eval_loss",
    "rank_1": "eval_rank1",
    "rank_5": "eval_rank5",
    "rank_10": "eval_rank10",
    "rank_20": "eval_rank20",
    "mean_average_precision": "eval_mAP",
    "mean_inverse_penalty": "eval_mINP",
    "r_precision": "eval_r_precision",
    "map_at_r": "eval_mAP_at_R",
}
"""Names of figures to the columns of summary.csv; in percent, but the loss in nats."""

METRICS = {
    "top1": ("top_1", 1),
    "top5": ("top_5", 1),
    "loss": ("loss", -1),
    "rank1": ("rank_1", 1),
    "mAP": ("mean_average_precision", 1),
}
"""What ``--eval-metric`` names: a figure, and the sign with which more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What was measured after an epoch.

    Attributes:
        figures: By the names in `COLUMNS`.
        images: That it was measured on; of a search, the queries that count.
    """

    figures: Mapping[str, float]
    images: int

    def value(self, metric: str) -> float:
        """Return a figure, more being better, by its name for ``--eval-metric``."""
        name, sign = METRICS[metric]
        return sign * self.figures[name]
