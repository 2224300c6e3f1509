"""What all records have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_flag(name: str) -> str:
    """The option of the command line that sets the field `name`: ``--batch-size``."""
    return "--" + name.replace("_", "-")
