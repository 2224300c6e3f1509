"""The points of a learning-rate range test, as a run keeps them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """An update of a range test.

    Attributes:
        lr: Learning rate of the update; 0 for the model as it came.
        train_loss: Loss of the update's images, before it; None for the model as it came.
        held_out_loss: Cross entropy on the held-out images after it, in nats; NaN where the update
            itself was not finite.
    """

    lr: float
    train_loss: float | None
    held_out_loss: float


def rates_text(points: Iterable[RatePoint]) -> str:
    """Return points as CSV, with all digits."""
    text = io.StringIO()
    columns = [field.name for field in fields(RatePoint)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, points))
    return text.getvalue()
