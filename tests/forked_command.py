"""`covtool` in a process of its own that has imported everything: forked, for tests of signals.

A fresh process would import for seconds before anything of a run can be interrupted.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fork_server

from covtool_cli import main


class ForkedCommand:
    """A running command, the leader of a session of its own.

    Args:
        arguments: What is typed after `covtool`.
        folder: Where it runs, and where the files of what it prints are.
        prepare: A picklable function that the process calls first.

    Attributes:
        pid: Its number, that of its process group too.
        stdout, stderr: Files of what it prints.
    """

    def __init__(
        self, *arguments: object, folder: Path, prepare: Callable[[], object] | None = None
    ) -> None:
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"
        given = [str(argument) for argument in arguments]
        self._process = fork_server.start(_run, given, folder, self.stdout, self.stderr, prepare)
        self.pid = self._process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)  # a signal to the group must not find none

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code after at most so many seconds."""
        self._process.join(timeout_s)
        return self.poll()

    def printed(self) -> str:
        """Return what it has printed to stderr so far."""
        return self.stderr.read_text() if self.stderr.exists() else ""


def _run(
    arguments: list[str],
    folder: Path,
    stdout: Path,
    stderr: Path,
    prepare: Callable[[], object] | None,
) -> None:
    os.setsid()
    os.chdir(folder)
    # Files in place of what pytest captures, for loaders' processes too.
    for number, path in ((1, stdout), (2, stderr)):
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    if prepare is not None:
        prepare()
    main.run(arguments)
