"""The end of a command's own process, which does not take its memory apart first.

With torch loaded Python spends about a second on a million objects, to give back memory that the
system takes anyway.
"""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress


def leave(code: int) -> None:
    """End the process as `sys.exit` does, at once where torch is loaded.

    Other threads are waited for, exit handlers run, streams are flushed; objects are not deleted.

    Args:
        code: Exit code.

    Raises:
        SystemExit: Torch is not loaded, or this is not the main thread.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if "torch" not in sys.modules or not is_main:
        sys.exit(code)
    # Everything is written: a Ctrl-C from now on has nothing to tell.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What Python does itself at its end, in its order; neither has a public name.
    with suppress(Exception):
        threading._shutdown()
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, full, or not there
            stream.flush()
    os._exit(code)
