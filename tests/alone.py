"""Tests marked `alone`, each in a process that has run no other test.

For what a long-lived process changes: registrations that cannot be taken back, services of other
packages, forks, which have none of the threads of their parent and all of its locks.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

IS_ALONE = "COVTOOL_TESTS_ALONE"
SECONDS = 240
"""What one test may take; below the limit of the worker that waits for it."""


def run_alone(test: pytest.Function) -> None:
    """Run a test in a process of its own; fail with its words where it does."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    words = ["-q", "-m", "", "-p", "no:xdist", "--timeout", str(SECONDS), test.nodeid]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        cwd=test.config.rootpath,
        env=inherited | {IS_ALONE: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=SECONDS + 30)
        finally:
            with suppress(ProcessLookupError):  # what it has started ends with it
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0 and "1 skipped" in said:
        pytest.skip("skipped in a process of its own")
    assert process.returncode == 0, said


def is_to_run_alone(test: pytest.Function) -> bool:
    """Whether a test is marked, and this is not yet its own process."""
    return test.get_closest_marker("alone") is not None and IS_ALONE not in os.environ
