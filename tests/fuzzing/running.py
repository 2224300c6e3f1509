"""One case in this process: its files are made, each call runs and is judged."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from fuzzing.calling import Outcome, call
from fuzzing.case import Case, Prepared, prepare_folder
from fuzzing.judging import Judged, verdict
from fuzzing.kind import Call, Kind

OWN_PLACES = {"HOME": "home", "XDG_CACHE_HOME": "home", "TMPDIR": "tmp"}
KEPT = 4000  # characters of each stream in a report


@dataclass
class CallReport:
    """A call, what was broken, and what it took.

    Attributes:
        words: The command line.
        broken: What the laws say; empty for a call that kept the promise.
        seconds: On the wall.
        memory: In bytes, beyond what the process had.
        err, details: The end of stderr; the traceback of the exception behind it.
    """

    words: str
    code: int | None = None
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0
    err: str = ""
    details: str = ""


@dataclass
class CaseReport:
    """A case: what was damaged how, and what the calls did."""

    name: str
    kind: str
    target: str
    mutators: list[str]
    calls: list[CallReport] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        return [cause for report in self.calls for cause in report.broken]

    def plain(self) -> dict:
        return asdict(self)


def blank_report(prepared: Prepared) -> CaseReport:
    """A report on a case none of whose calls has run."""
    mutators = [row.name for row in prepared.mutators]
    return CaseReport(prepared.case.name, prepared.case.kind.name, prepared.target, mutators)


def run_case(
    case: Case, seeds: Path, folder: Path, *, on_call: Callable[[str], None] = lambda words: None
) -> CaseReport:
    """Make a case in an empty folder, and run and judge its calls.

    Args:
        case: The case.
        seeds: Folder of the whole files, by kind; see `make_seeds`.
        folder: Where it is made and run.
        on_call: Told of each call before it runs.
    """
    prepared = case.prepare(seeds, folder)
    report = blank_report(prepared)
    for each in prepared.calls:
        on_call(str(each))
        report.calls.append(run_call(each, prepared, folder))
    return report


def run_call(each: Call, prepared: Prepared, folder: Path) -> CallReport:
    """Run a call on the files of a case as they are, and judge it."""
    size = prepared.size(folder)
    with _own_places(folder):
        outcome = call(each.run, list(each.words), folder, size=size)
    judged = Judged(each, outcome, size, prepared.only_tensors_differ)
    return _reported(each, outcome, verdict(judged))


def _reported(each: Call, outcome: Outcome, broken: list[str]) -> CallReport:
    return CallReport(
        words=str(each),
        code=outcome.code,
        broken=broken,
        seconds=outcome.seconds,
        memory=outcome.memory,
        err=outcome.err[-KEPT:],
        details=outcome.details if broken else "",
    )


def make_seeds(kind: Kind, seeds: Path) -> None:
    """Make the whole files of a kind, once, in a folder of its name.

    Every call reads them once: what it imports is there when a child begins.
    """
    warm_up()
    folder = seeds / kind.name
    if folder.exists():
        return
    making = seeds / f".{kind.name}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    kind.make(making)
    making.rename(folder)


def read_whole(
    kind: Kind, seeds: Path, folder: Path, *, most: int | None = None
) -> list[CallReport]:
    """What the calls of a kind do with whole files; all of them, or so many at most."""
    reports = []
    for each, target in islice(_whole_calls(kind, seeds), most):
        shutil.rmtree(folder, ignore_errors=True)
        prepare_folder(kind, seeds, folder)
        whole = Prepared(Case(kind, 0, 0), target, (), (), is_whole=True)
        reports.append(run_call(each, whole, folder))
    shutil.rmtree(folder, ignore_errors=True)
    return reports


def _whole_calls(kind: Kind, seeds: Path) -> Iterator[tuple[Call, str]]:
    """Each call with a target; those that are made for each folder, with each."""
    targets = [target for pattern in kind.targets for target in kind.matching(pattern, seeds)]
    seen = set()
    for each in kind.calls:
        for target in targets:
            if each.on(target) not in seen:
                seen.add(each.on(target))
                yield each.on(target), target


def warm_up() -> None:
    """Have Python and matplotlib run the programs that they run once in a process."""
    platform.processor()  # uname, for what is said of the machine
    with suppress(ImportError):
        import matplotlib
        import matplotlib.font_manager  # fc-list

        matplotlib.get_configdir(), matplotlib.get_cachedir()  # remembered


@contextmanager
def _own_places(folder: Path) -> Iterator[None]:
    """Temporary files and caches of a call are in its folder, where they are seen."""
    before = {name: os.environ.get(name) for name in OWN_PLACES}
    directory, tempfile.tempdir = tempfile.tempdir, None
    os.environ.update({name: str(folder / place) for name, place in OWN_PLACES.items()})
    try:
        yield
    finally:
        tempfile.tempdir = directory
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
