"""The verdict on a call: laws that hold whatever the bytes were, a row for each.

A law returns what is broken, in words that are the same for cases of the same cause, or None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from covtool.errors import CovtoolError
from fuzzing import bounds
from fuzzing.calling import Outcome
from fuzzing.kind import Call

NOT_FINITE = re.compile(r"(?<![\w\"'])(NaN|-?Infinity)(?![\w\"'])")
LIBRARY_WARNING = re.compile(r"\.py:\d+: \w*Warning: ([^\n]{0,60})")


@dataclass(frozen=True)
class Judged:
    """A call and what it did.

    Attributes:
        size: Bytes of the files that it may read.
        only_tensors_differ: See `fuzzing.case.Prepared`.
    """

    call: Call
    outcome: Outcome
    size: int
    only_tensors_differ: bool = False


def foreseen(of: Judged) -> str | None:
    """Exit code 1 is a defect, and so is a traceback."""
    outcome = of.outcome
    if outcome.code != 1 and "Traceback (most recent call last)" not in outcome.out + outcome.err:
        return None
    kind = type(outcome.problem).__name__ if outcome.problem else "?"
    name = "exit code 1" if isinstance(outcome.problem, CovtoolError) else "not foreseen"
    return f"{name}: {kind} in {outcome.place}"


def exit_code(of: Judged) -> str | None:
    """0, or one of those that the call may refuse with."""
    outcome = of.outcome
    if outcome.code in (0, 1) or outcome.code in of.call.refusals:
        return None
    kind = type(outcome.problem).__name__ if outcome.problem else "?"
    return f"exit code {outcome.code}: {kind} in {outcome.place}"


def reason(of: Judged) -> str | None:
    """A refusal says why, on stderr, after ``error:``; of a wrong option in a box of typer's."""
    outcome = of.outcome
    if outcome.code == 0:
        return None
    told = re.search(r"^error: \S|^╭─ Error ", outcome.err, re.MULTILINE)
    if not told:
        return "no reason"
    return "long refusal" if len(outcome.err) > bounds.ERROR_CHARACTERS else None


def printable(of: Judged) -> str | None:
    """No byte of a file reaches the terminal raw."""
    for stream, text in (("stdout", of.outcome.out), ("stderr", of.outcome.err)):
        raw = next((c for c in text if not c.isprintable() and c != "\n"), None)
        if raw is not None:
            return f"raw character on {stream}"
    return None


def no_library_warning(of: Judged) -> str | None:
    """What a library warns of is said in covtool's words, or not at all."""
    found = LIBRARY_WARNING.search(of.outcome.err)
    return f"library warning: {found[1]}" if found else None


def nothing_left(of: Judged) -> str | None:
    """No file is made, changed or removed, but for the output of a success."""
    allowed = of.call.writes if of.outcome.code == 0 else ()
    own = tuple(f"case/{place}" for place in allowed)
    others = [name for name in of.outcome.changed if not (own and name.startswith(own))]
    others = [name for name in others if not (own and name == "case")]
    return f"left behind: {_kind_of(others[0])} (exit code {of.outcome.code})" if others else None


def no_network(of: Judged) -> str | None:
    """No name is looked up, no connection is opened."""
    asked = of.outcome.watch.sockets
    return f"network: {asked[0].partition(' ')[0]} in {of.outcome.place or '?'}" if asked else None


def no_program(of: Judged) -> str | None:
    """No other program is started."""
    asked = of.outcome.watch.programs
    return f"program: {asked[0]}" if asked else None


def no_other_file(of: Judged) -> str | None:
    """Nothing outside of the case is opened."""
    seen = of.outcome.watch.foreign
    return f"other file: {seen[0]}" if seen and not of.call.follows_paths else None


def time(of: Judged) -> str | None:
    """Bounded; what waits is as bad as what computes."""
    outcome = of.outcome
    slow = outcome.cpu_seconds > bounds.SECONDS or outcome.seconds > bounds.WAITING_SECONDS
    return f"slow: {outcome.place or of.call.words[0]}" if slow else None


def memory(of: Judged) -> str | None:
    """Bounded by the size of the files."""
    taken = of.outcome.memory > bounds.memory_bytes(of.size)
    return f"memory: {of.outcome.place or of.call.words[0]}" if taken else None


def never_silent(of: Judged) -> str | None:
    """A broken file gives no number as if it were whole."""
    outcome = of.outcome
    if outcome.code != 0:
        return None
    if of.only_tensors_differ:
        return "silent: changed tensors of a file with a checksum"
    if (
        "--json" in of.call.words
        and of.call.words[0] != "inspect"
        and NOT_FINITE.search(outcome.out)
    ):
        return f"silent: figures that are not numbers ({of.call.words[0]})"
    return None


LAWS: tuple[Callable[[Judged], str | None], ...] = (
    foreseen,
    exit_code,
    reason,
    printable,
    no_library_warning,
    nothing_left,
    no_network,
    no_program,
    no_other_file,
    time,
    memory,
    never_silent,
)


def verdict(of: Judged) -> list[str]:
    """What is broken; empty for a call that did what was promised."""
    return [broken for law in LAWS if (broken := law(of)) is not None]


def _kind_of(name: str) -> str:
    """A path without what differs from case to case."""
    return re.sub(r"\d+|tmp\w{6,}", "*", name)
