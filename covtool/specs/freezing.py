"""Rules that freeze modules, for a number of epochs or for good: ``backbone@3``, ``layer1.*``."""

import re

from covtool.errors import ArgumentError
from covtool.specs.record import PositiveInt, Record

BACKBONE = "backbone"

# No @0: it would freeze nothing. No spaces: no parameter's name has one.
_RULE = re.compile(r"(?P<pattern>[^@\s]+)(?:@(?P<epochs>[1-9]\d*))?")


class FreezeRule(Record):
    """Parameters that are not trained, and for how long.

    Attributes:
        pattern: ``backbone``, or names of modules or parameters with wildcards.
        epochs: Number of epochs from the beginning; None for the whole run.
    """

    pattern: str
    epochs: PositiveInt | None = None

    def applies(self, epoch: int) -> bool:
        """Return whether it still does in an epoch, counted from 0."""
        return self.epochs is None or epoch < self.epochs

    def __str__(self) -> str:
        return self.pattern if self.epochs is None else f"{self.pattern}@{self.epochs}"


def parse_freeze(text: str) -> FreezeRule:
    """Return the rule that ``PATTERN`` or ``PATTERN@EPOCHS`` stands for.

    Raises:
        ArgumentError: It is written differently.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise ArgumentError(
            f"--freeze {text!r} is neither PATTERN nor PATTERN@EPOCHS.",
            reason="EPOCHS is a number from 1 on.",
            hint="For example --freeze backbone@3 or --freeze 'layer1.*'.",
        )
    return FreezeRule.model_validate(found.groupdict())
