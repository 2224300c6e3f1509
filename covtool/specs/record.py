"""What all records have in common."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from covtool.errors import ArgumentError

LARGEST = 1e30
"""Beyond it float32 products overflow."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=2**16)]
"""Channels or features of a layer."""

Name = Annotated[str, Field(max_length=100)]
LongName = Annotated[str, Field(max_length=1000)]
"""Of a module with its path, of a class."""

Contradiction = tuple[bool, str, str]
"""Whether fields contradict each other, in which words, and what to do then."""


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckedRecord(Record):
    """A record whose fields may contradict each other."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield everything that may be wrong between the fields, the first to be told first."""
        yield from ()

    def validate_fields(self) -> None:
        """Check the fields against each other.

        Raises:
            ArgumentError: Two of them contradict each other, or one has no effect.
        """
        refuse_first(self.contradictions())


def refuse_first(contradictions: Iterable[Contradiction]) -> None:
    """Refuse the first contradiction that there is.

    Raises:
        ArgumentError: There is one.
    """
    for wrong, message, hint in contradictions:
        if wrong:
            raise ArgumentError(message, hint=hint)


def as_flag(name: str) -> str:
    """Return the option of the command line that sets the field `name`: ``--batch-size``."""
    return "--" + name.replace("_", "-")
