"""A call in this process: a command line or a function, with all that it says and takes."""

import io
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing import bounds
from fuzzing.watching import Watch, watched

IGNORED_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
OWN_CODE = re.compile(r"/(covtool|cli|covtool_cli)/[^/]+")
LONGEST_KEPT = 1 << 20  # characters of a stream
MARGIN = 1 << 30  # address space for files that are mapped and libraries that are loaded


@dataclass
class Outcome:
    """What a call did.

    Attributes:
        code: Exit code.
        out, err: What it said.
        problem: The exception that ended it, whatever it became on the command line.
        place: Where that was raised, as ``module:function``, or "".
        details: Its traceback.
        seconds, cpu_seconds: Time on the wall, and of the processor.
        memory: Bytes that the process grew by, at most.
        changed: Files that were made, changed or removed.
        watch: What it did outside.
    """

    code: int
    out: str = ""
    err: str = ""
    problem: BaseException | None = None
    place: str = ""
    details: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    changed: list[str] = field(default_factory=list)
    watch: Watch | None = None


def command_line(arguments: list[str]) -> None:
    """Run a command of covtool; ends in SystemExit, whose context is what went wrong."""
    from covtool_cli import main

    problems, told = [], main._report

    def tell(problem: Exception) -> int:
        problems.append(problem)
        return told(problem)

    main._report = tell
    try:
        main.run(arguments)
    except SystemExit as end:
        end.__context__ = problems[-1] if problems else None
        raise
    finally:
        main._report = told


def call(
    run: Callable[[list[str]], object], arguments: list[str], folder: Path, *, size: int
) -> Outcome:
    """Run something on files in `folder`.

    Args:
        run: `command_line`, or a function of covtool that takes the same.
        arguments: Its arguments.
        folder: All that the call may read and change; it works in the folder ``case`` there.
        size: Bytes of the files there, by which its memory is bounded.
    """
    before, here = _files(folder), Path.cwd()
    os.chdir(folder / "case")
    _forget_peak()
    memory, start, cpu = _memory("VmRSS"), time.monotonic(), time.process_time()
    try:
        with _streams() as said, watched(folder) as watch, bounded_memory(size):
            problem = _problem_of(run, arguments)
    finally:
        os.chdir(here)
    outcome = Outcome(code=_code(problem), problem=_cause(problem), watch=watch, **said)
    outcome.seconds, outcome.cpu_seconds = time.monotonic() - start, time.process_time() - cpu
    outcome.memory = max(0, _memory("VmHWM") - memory)
    outcome.changed = sorted({name for name, _ in before.items() ^ _files(folder).items()})
    if outcome.problem is not None:
        outcome.place = _place(outcome.problem)
        outcome.details = "".join(traceback.format_exception(outcome.problem))[-20_000:]
    return outcome


def _problem_of(run: Callable[[list[str]], object], arguments: list[str]) -> BaseException | None:
    try:
        run(arguments)
    except BaseException as problem:
        if not isinstance(problem, SystemExit):
            sys.stderr.write(_as_told(problem))
        return problem
    return None


def _as_told(problem: BaseException) -> str:
    """As the command line would tell an error of the library."""
    from covtool.errors import CovtoolError

    if isinstance(problem, CovtoolError):
        return f"error: {problem}\n"
    return f"error: {type(problem).__name__}: {problem}\nThis is an unexpected error\n"


def _code(problem: BaseException | None) -> int:
    from covtool.errors import CovtoolError
    from covtool_cli.main import exit_code

    if problem is None:
        return 0
    if isinstance(problem, SystemExit):
        return problem.code if isinstance(problem.code, int) else int(problem.code is not None)
    return exit_code(problem) if isinstance(problem, CovtoolError) else 1


def _cause(problem: BaseException | None) -> BaseException | None:
    """What made the command line exit."""
    if isinstance(problem, SystemExit):
        return problem.__context__
    return problem


def _place(problem: BaseException) -> str:
    """The last function of covtool on the way to an exception."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [f for f in frames if OWN_CODE.search(f.filename) and f.name != "run"]
    return f"{Path(own[-1].filename).stem}:{own[-1].name}" if own else ""


@contextmanager
def _streams() -> Iterator[dict[str, str]]:
    """Both streams, what C libraries write there included; filled in when the block ends."""
    said: dict[str, str] = {}
    saved = {1: os.dup(1), 2: os.dup(2)}
    streams, before = {}, (sys.stdout, sys.stderr)
    for number in saved:
        file = streams[number] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed below
        os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(n, "wb", closefd=False), "utf-8", "backslashreplace", newline="\n")  # noqa: SIM115
        for n in (1, 2)
    )
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # a test runner's would keep it to itself
            warnings.simplefilter("always")
            for category in IGNORED_WARNINGS:
                warnings.simplefilter("ignore", category)
            yield said
    finally:
        replaced = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = before
        for stream in replaced:
            with suppress(MemoryError, ValueError):  # what ended the call may still hold its memory
                stream.flush()
        for (number, original), name in zip(saved.items(), ("out", "err"), strict=True):
            os.dup2(original, number)
            os.close(original)
            streams[number].seek(0)
            content = streams[number].read(LONGEST_KEPT)
            said[name] = content.decode("utf-8", "surrogateescape")
            streams[number].close()


def _show_warning(message: Warning, category: type[Warning], *where: object) -> None:
    filename, line = where[:2]
    sys.stderr.write(warnings.formatwarning(message, category, str(filename), int(line)))


@contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Bound what this process may allocate for files of `size` bytes, by the operating system."""
    limits = {
        resource.RLIMIT_DATA: _memory("VmData") + bounds.memory_bytes(size),
        resource.RLIMIT_AS: _memory("VmSize") + bounds.memory_bytes(size) + MARGIN,
    }
    before = {what: resource.getrlimit(what) for what in limits}
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, before[what][1]))
    try:
        yield
    finally:
        for what, limit in before.items():
            resource.setrlimit(what, limit)


def _files(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)  # noqa: PTH118
            status = os.lstat(path)
            facts = status.st_ino, status.st_mode
            if name in files:
                facts += (status.st_size, status.st_mtime_ns)
            found[os.path.relpath(path, folder)] = facts
    return found


def _forget_peak() -> None:
    with suppress(OSError):  # else the peak since the start counts
        Path("/proc/self/clear_refs").write_text("5")


def _memory(what: str) -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024
