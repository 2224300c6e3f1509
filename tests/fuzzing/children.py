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
from fuzzing.running import CallReport, CaseReport, run_case

GRACE = 2.0  # seconds of the processor beyond the bound, in which a child may judge itself
TOLD = 0.5  # seconds in which a child tells where it is, before it is ended


@dataclass
class Child:
    """A process that runs a case."""

    case: Case
    seeds: Path
    pid: int
    pipe: int
    folder: Path
    received: bytes = b""
    clock: "Clock" = field(default_factory=lambda: Clock())
    late: str | None = None

    def hear(self, data: bytes) -> None:
        """Take what it sends; a new call begins."""
        self.received += data
        self.clock = Clock(used=_processor_seconds(self.pid), last=_processor_seconds(self.pid))

    def check(self) -> str | None:
        """What is wrong with the time that it takes, if anything is."""
        self.late = self.late or self.clock.check(_processor_seconds(self.pid))
        return self.late


@dataclass
class Clock:
    """The time that a call takes.

    Attributes:
        used: Processor time of the process when the call began, in seconds.
        last: The same, when it was last seen to grow, at `grown` on the wall.
    """

    used: float = 0.0
    last: float = 0.0
    began: float = field(default_factory=time.monotonic)
    grown: float = field(default_factory=time.monotonic)

    def check(self, seconds: float) -> str | None:
        """What is wrong, given the processor time of the process."""
        now = time.monotonic()
        if seconds > self.last:
            self.last, self.grown = seconds, now
        if now - self.grown > bounds.IDLE_SECONDS:
            return "hang"
        slow = seconds - self.used > bounds.SECONDS + GRACE
        return "slow" if slow or now - self.began > bounds.WAITING_SECONDS + GRACE else None


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
    return Child(case, seeds, pid, reading, folder)


def _run(case: Case, seeds: Path, folder: Path, pipe: int) -> None:
    """The child: never returns."""
    try:
        faulthandler.register(signal.SIGUSR1, file=pipe)  # where is it? The parent asks

        def begin(words: str) -> None:
            _tell(pipe, {"begins": words})

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
        child.hear(data)
        if not data:
            ended.append(child)
    return ended + [child for child in running if child not in ended and child.check()]


def _where(child: Child) -> bytes:
    """The stack of a process that is late."""
    os.kill(child.pid, signal.SIGUSR1)
    ready, _, _ = select.select([child.pipe], [], [], TOLD)
    time.sleep(TOLD)
    return os.read(child.pipe, 1 << 16) if ready else b""


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(child: Child) -> CaseReport:
    if child.late:
        child.received += b"\n" + _where(child)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    _, status, _ = os.wait4(child.pid, 0)
    os.close(child.pipe)
    messages, rest = _messages(child.received)
    if messages and "report" in messages[-1]:
        return _read(messages[-1]["report"])
    target, mutators, _, _ = child.case.drawn(child.seeds)
    report = CaseReport(child.case.name, child.case.kind.name, target, [m.name for m in mutators])
    begun = [message["begins"] for message in messages if "begins" in message]
    failed = [message["failed"] for message in messages if "failed" in message]
    cause = f"fuzzer: {failed[0]}" if failed else _end_of(child, status, rest)
    report.calls.append(CallReport(begun[-1] if begun else "", None, [cause], details=rest))
    return report


def _messages(received: bytes) -> tuple[list[dict], str]:
    messages, rest = [], []
    for line in received.decode("utf-8", "replace").splitlines():
        try:
            messages.append(json.loads(line))
        except ValueError:  # where it hung
            rest.append(line)
    return messages, "\n".join(rest)


def _end_of(child: Child, status: int, stack: str) -> str:
    if child.late:
        own = [line for line in stack.splitlines() if "/covtool/" in line or "/cli/" in line]
        return f"{child.late}: {own[0].strip().rpartition('/')[2]}" if own else child.late
    number = os.waitstatus_to_exitcode(status)
    return f"killed: {signal.Signals(-number).name}" if number < 0 else f"ended: {number}"


def _read(report: dict) -> CaseReport:
    calls = [CallReport(**call) for call in report.pop("calls")]
    return CaseReport(**report, calls=calls)
