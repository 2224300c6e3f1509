"""One thing that is worth knowing about a data set."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["leak", "problem", "remark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is worth knowing about a data set.

    Attributes:
        severity: ``leak`` where images to test on are trained on; ``problem`` for other mistakes;
            ``remark`` for what may be as it should be.
        name: Kind of the finding.
        count: Number of images, classes or files that it is about.
        text: The finding, in a sentence.
        examples: First of them.
    """

    severity: Severity
    name: str
    count: int
    text: str
    examples: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The finding and its examples in one line."""
        if not self.examples:
            return self.text
        more = self.count - len(self.examples)
        rest = f", and {more:,} more" if more > 0 else ""
        return f"{self.text.removesuffix('.')}: {', '.join(self.examples)}{rest}."
