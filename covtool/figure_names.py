"""Figures in the words that people read, by the names that files and options have for them.

Files are an interface and keep their names: ``eval_top1`` of summary.csv, ``top_1`` of a recipe,
``top1`` of ``--eval-metric``. Whatever is shown, on a page, in a picture or on a terminal, has the
words of this table.
"""

from typing import NamedTuple

RANKS = (1, 5, 10, 20)
"""The k of rank-k and Recall@k that are measured."""


class FigureName(NamedTuple):
    """A row of the table.

    Attributes:
        words: What people read.
        unit: Unit, as it stands in a heading; empty for a number without one.
    """

    words: str
    unit: str = ""


def rank_words(k: int, *, has_cameras: bool | None) -> str:
    """Return the words for the share of queries with a match among the first k images.

    Args:
        k: Number of images looked at.
        has_cameras: Whether images of the query's own camera are left out, which decides about the
            name; None where a file does not say.

    Example:
        >>> [rank_words(1, has_cameras=known) for known in (True, False, None)]
        ['rank-1', 'Recall@1', 'rank-1 / Recall@1']
    """
    if has_cameras is None:
        return f"rank-{k} / Recall@{k}"
    return f"rank-{k}" if has_cameras else f"Recall@{k}"


_TOP_1, _TOP_5 = FigureName("top-1", "%"), FigureName("top-5", "%")
_LOSS = FigureName("validation loss", "nats")
_MAP, _MINP = FigureName("mAP", "%"), FigureName("mINP", "%")
_MAP_AT_R = FigureName("mAP@R", "%")
_RANKS = {k: FigureName(rank_words(k, has_cameras=None), "%") for k in RANKS}

NAMES = {
    "top1": _TOP_1,
    "top_1": _TOP_1,
    "top5": _TOP_5,
    "top_5": _TOP_5,
    "left_out_top_1": FigureName("left-out top-1", "%"),
    "loss": _LOSS,
    "train_loss": FigureName("train loss", "nats"),
    **{f"rank{k}": row for k, row in _RANKS.items()},
    **{f"rank_{k}": row for k, row in _RANKS.items()},
    "mAP": _MAP,
    "mean_average_precision": _MAP,
    "mINP": _MINP,
    "mean_inverse_penalty": _MINP,
    "r_precision": FigureName("R-precision", "%"),
    "mAP_at_R": _MAP_AT_R,
    "map_at_r": _MAP_AT_R,
    "correlation": FigureName("S(W)"),
    "smallest_eigenvalue_ratio": FigureName("smallest eigenvalue / diagonal"),
    "lr": FigureName("learning rate"),
    "auroc": FigureName("area under ROC", "%"),
    "fpr_at_95": FigureName("unknown accepted with 95 % of the known", "%"),
    "threshold": FigureName("threshold that accepts 95 % of the known"),
    "distance": FigureName("distance to training embeddings"),
    "doubt": FigureName("1 - largest probability"),
}
"""Names in files and of options, without ``eval_``, to words and units."""

_EVALUATED = "eval_"
_PARTS = ("best", "last")


def figure_name(column: str) -> str:
    """Return the words for a figure, without its unit.

    Args:
        column: Name of a column, of a recipe's figure, or of a metric; ``best_`` or ``last_`` may
            stand before it. One that is not known has spaces in place of underscores.

    Example:
        >>> figure_name("best_eval_top1"), figure_name("eval_rank5"), figure_name("my_figure")
        ('best top-1', 'rank-5 / Recall@5', 'my figure')
    """
    which, row = _split(column)
    return f"{which}{row.words}"


def figure_title(column: str) -> str:
    """Return the words for a figure with its unit, as a heading; see `figure_name`.

    Example:
        >>> figure_title("eval_top1"), figure_title("train_loss"), figure_title("lr")
        ('top-1 (%)', 'train loss (nats)', 'learning rate')
    """
    which, row = _split(column)
    return f"{which}{row.words} ({row.unit})" if row.unit else f"{which}{row.words}"


def figure_unit(column: str) -> str:
    """Return the unit of a figure, empty for one without; see `figure_name`."""
    return _split(column)[1].unit


def _split(column: str) -> tuple[str, FigureName]:
    which, _, rest = column.partition("_")
    found, which = (rest, f"{which} ") if which in _PARTS and rest else (column, "")
    bare = found.removeprefix(_EVALUATED)
    return which, NAMES.get(bare, FigureName(bare.replace("_", " ")))
