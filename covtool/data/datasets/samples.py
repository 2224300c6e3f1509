"""A labeled image of a data set."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and its label, an index into the class names."""

    path: Path
    label: int
