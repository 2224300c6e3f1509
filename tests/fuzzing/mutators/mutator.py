"""A row of the tables of mutators."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

Change = Callable[[bytes, Random], bytes]
TreeChange = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Mutator:
    """A way to damage a file.

    Attributes:
        name: Its name in reports.
        change: Makes damaged bytes of whole ones, or damages a folder in place; deterministic,
            given the generator.
        of_tensors: It changes what tensors hold and nothing else, so that only a checksum shows it.
        weight: How often it is drawn, beside the others.
    """

    name: str
    change: Change | TreeChange
    of_tensors: bool = False
    weight: int = 1


def rows(*changes: Change, weight: int = 1) -> tuple[Mutator, ...]:
    """A row for each function, named as the function."""
    names = [change.__name__.strip("_").replace("_", "-") for change in changes]
    return tuple(
        Mutator(name, change, weight=weight) for name, change in zip(names, changes, strict=True)
    )
