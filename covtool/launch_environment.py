"""The variables by which torchrun, or a launcher like it, numbers the processes it starts.

Variables count only where they make a whole: a shell may have one of these names for something
else.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from covtool.errors import ArgumentError
from covtool.printable import printable

RANK, WORLD, LOCAL_RANK, LOCAL_WORLD = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"

_LONGEST_NUMBER = 9  # digits
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The number of a process in its group, and on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place of this process; None where the environment lacks it, or part of it."""
    return None if _lacking(environment) else _place(environment)


def required_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place of this process; None where the environment names no group.

    Raises:
        ArgumentError: It has ``WORLD_SIZE``, but the rest is missing or makes no sense.
    """
    if not environment.get(WORLD):
        return None
    if lacking := _lacking(environment):
        raise ArgumentError(
            f"The environment has {WORLD}, but {lacking}.",
            hint="Start several processes with torchrun, or with --nproc; or unset "
            f"{WORLD} for one.",
        )
    return _place(environment)


def _lacking(environment: Mapping[str, str]) -> str | None:
    """Return what keeps the variables from making a whole."""
    names = [RANK, WORLD, LOCAL_RANK, *([LOCAL_WORLD] if environment.get(LOCAL_WORLD) else [])]
    wrong = [name for name in names if not _is_number(environment.get(name, ""))]
    if wrong:
        return f"no number in {' and '.join(wrong)}"
    rank, world = int(environment[RANK]), int(environment[WORLD])
    if not rank < world:
        return f"{RANK} is {rank} of {world}"
    if world == 1:
        return None
    if not environment.get(ADDRESS):
        return f"no {ADDRESS}"
    port = environment.get(PORT, "")
    if not _is_number(port) or not 0 < int(port) <= _LAST_PORT:
        return f"no port in {PORT}: {printable(port)!r}"
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER


def _place(environment: Mapping[str, str]) -> Place:
    # Not every launcher says how many there are on a machine.
    local_world = environment.get(LOCAL_WORLD) or "1"
    return Place(
        rank=int(environment[RANK]),
        world=int(environment[WORLD]),
        local_rank=int(environment[LOCAL_RANK]),
        local_world=int(local_world),
    )
