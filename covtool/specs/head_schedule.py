"""The schedule of heads in hybrid training: ``isqrt@0,mpn:pade@30``."""

import re
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from covtool.errors import ArgumentError
from covtool.specs.record import Record

_PHASE = re.compile(r"(?P<head>[^:@,\s]+)(?::(?P<gradient>[^:@,\s]+))?@(?P<epoch>\d+)")


class HeadPhase(Record):
    """A head, and the epoch that it takes over at.

    Attributes:
        head: Its name in `covtool.variants.HEADS`.
        gradient: Its gradient rule; None for that of the file.
        epoch: Counted from 0.
    """

    head: str
    gradient: str | None = None
    epoch: Annotated[int, Field(ge=0)]


def parse_head_schedule(text: str) -> tuple[HeadPhase, ...]:
    """Parse the phases of ``HEAD[:GRADIENT]@EPOCH``, separated by commas, in order.

    Raises:
        ArgumentError: It is written differently, or the epochs do not rise.
    """
    phases = []
    for part in text.split(","):
        found = _PHASE.fullmatch(part.strip())
        if found is None:
            raise ArgumentError(
                f"{part.strip()!r} is not a phase of a head schedule.",
                hint="Write HEAD@EPOCH or HEAD:GRADIENT@EPOCH, like isqrt@0,mpn:pade@30.",
            )
        # Without the gradient where there is none: the record's default is None.
        phases.append(HeadPhase(**{k: v for k, v in found.groupdict().items() if v is not None}))
    if any(first.epoch >= second.epoch for first, second in pairwise(phases)):
        raise ArgumentError(
            f"The epochs of the head schedule {text!r} do not rise.",
            hint="Give the phases in order, each with a later epoch.",
        )
    return tuple(phases)
