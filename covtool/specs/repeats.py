"""How often a run is repeated: with several seeds, on several folds of its images."""

from collections.abc import Iterator

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import CheckedRecord, Contradiction

PANEL: JsonDict = {"panel": "Repeats"}

MOST = 1000
"""Largest number of seeds, and of folds."""


class RepeatSpec(CheckedRecord):
    """Repeats of a run, each a run of its own in the folder of them all."""

    seeds: int | None = Field(
        None,
        ge=2,
        le=MOST,
        description="Repeat the run with so many seeds: --seed, the next number, and so on.",
        json_schema_extra=PANEL,
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=MOST,
        description="Cross-validate: cut the training images into so many parts, and hold each out "
        "once to validate on; of retrieval data, cut the identities.",
        json_schema_extra=PANEL,
    )
    fold: int | None = Field(
        None,
        ge=1,
        description="Train only the run that holds this one of the --folds out.",
        json_schema_extra=PANEL,
    )

    @property
    def is_several(self) -> bool:
        """Whether this asks for several runs."""
        return self.seeds is not None or (self.folds is not None and self.fold is None)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield a fold that there is none of."""
        yield (
            self.fold is not None and self.folds is None,
            "--fold has no effect without --folds.",
            "Say how many there are: --folds 5.",
        )
        yield (
            self.fold is not None and self.folds is not None and self.fold > self.folds,
            f"There is no fold {self.fold} of {self.folds}.",
            f"Folds are counted from 1 to {self.folds}.",
        )
