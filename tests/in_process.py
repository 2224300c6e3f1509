"""`covtool` run in this process: the imports of a fresh one would be most of a test's time.

Tests of signals, pipes and several processes start real ones.
"""

import contextlib
import io
from pathlib import Path
from subprocess import CompletedProcess

from covtool_cli import main


def covtool(*arguments: object, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run a command in the folder `cwd`; its exit code and what it printed."""
    given = [str(argument) for argument in arguments]
    # Streams over bytes, as those of a process are: commands write to their buffers too.
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main.run(given)
        except SystemExit as end:
            code = end.code
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return CompletedProcess(given, code or 0, *printed)
