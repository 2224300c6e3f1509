"""Cases in child processes, a child for each: the operating system bounds its time and memory."""

import faulthandler
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing import bounds
from fuzzing.case import Case
from fuzzing.running import CallReport, CaseReport, bounded_memory, run_case

GRACE = 10.0  # seconds beyond the bound, in which a child tells itself where it hangs


@dataclass
class Child:
    """A process that runs a case."""

    case: Case
    pid: int
    pipe: int
    folder: Path
    told: bytes = b""
    last: float = field(default_factory=time.monotonic)

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self.last > bounds.WAITING_SECONDS + 2 * GRACE


def run_cases(
    cases: Iterable[Case], seeds: Path, work: Path, *, jobs: int
) -> Iterator[tuple[CaseReport, Path]]:
    """Run cases, some at a time; each report with the case's folder, which is gone afterwards.

    Args:
        cases: In order.
        seeds: See `fuzzing.running.make_seeds`.
        work: Folder for the folders of cases.
        jobs: Children at a time.
    """
    waiting, running = iter(cases), []
    while True:
        while len(running) < jobs and (case := next(waiting, None)) is not None:
            running.append(_started(case, seeds, work / case.name))
        if not running:
            return
        for child in _ended(running):
            running.remove(child)
            yield _report(child), child.folder
            shutil.rmtree(child.folder, ignore_errors=True)


def _started(case: Case, seeds: Path, folder: Path) -> Child:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()  # so that whatever it starts is ended with it
        _run(case, seeds, folder, writing)
    os.close(writing)
    return Child(case, pid, reading, folder)


def _run(case: Case, seeds: Path, folder: Path, pipe: int) -> None:
    """The child: never returns."""
    try:

        def begin(words: str) -> None:
            faulthandler.dump_traceback_later(bounds.WAITING_SECONDS + GRACE, file=pipe, exit=True)
            _tell(pipe, {"begins": words})

        size = sum(f.stat().st_size for f in (seeds / case.kind.name).rglob("*") if f.is_file())
        with bounded_memory(size):
            report = run_case(case, seeds, folder, on_call=begin)
        _tell(pipe, {"report": report.plain()})
    except BaseException as problem:
        _tell(pipe, {"failed": f"{type(problem).__name__}: {problem}"})
    finally:
        os._exit(0)


def _tell(pipe: int, message: dict) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def _ended(running: list[Child]) -> list[Child]:
    """Those that closed their pipes, or had to be ended."""
    by_pipe = {child.pipe: child for child in running}
    ready, _, _ = select.select(list(by_pipe), [], [], 1.0)
    ended = []
    for pipe in ready:
        child, data = by_pipe[pipe], os.read(pipe, 1 << 20)
        child.told, child.last = child.told + data, time.monotonic()
        if not data:
            ended.append(child)
    return ended + [child for child in running if child.is_late and child not in ended]


def _report(child: Child) -> CaseReport:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    _, status, _ = os.wait4(child.pid, 0)
    os.close(child.pipe)
    messages, rest = _messages(child.told)
    if messages and "report" in messages[-1]:
        return _read(messages[-1]["report"])
    target, mutators, _, _ = child.case.drawn()
    report = CaseReport(child.case.name, child.case.kind.name, target, [m.name for m in mutators])
    begun = [message["begins"] for message in messages if "begins" in message]
    failed = [message["failed"] for message in messages if "failed" in message]
    cause = f"fuzzer: {failed[0]}" if failed else _end_of(child, status, rest)
    report.calls.append(CallReport(begun[-1] if begun else "", None, [cause], details=rest))
    return report


def _messages(told: bytes) -> tuple[list[dict], str]:
    messages, rest = [], []
    for line in told.decode("utf-8", "replace").splitlines():
        try:
            messages.append(json.loads(line))
        except ValueError:  # where it hung
            rest.append(line)
    return messages, "\n".join(rest)


def _end_of(child: Child, status: int, stack: str) -> str:
    if stack or child.is_late:
        own = [line for line in stack.splitlines() if "/covtool/" in line or "/cli/" in line]
        return f"hang: {own[0].strip().rpartition('/')[2]}" if own else "hang"
    number = os.waitstatus_to_exitcode(status)
    return f"killed: {signal.Signals(-number).name}" if number < 0 else f"ended: {number}"


def _read(report: dict) -> CaseReport:
    calls = [CallReport(**call) for call in report.pop("calls")]
    return CaseReport(**report, calls=calls)
