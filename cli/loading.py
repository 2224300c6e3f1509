"""torch and what lies on it, loaded once a command is sure to need it: with a line, and quickly."""

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from covtool_cli import launching
from covtool_cli.deferred_compiler import import_vision

LINE = "loading torch ..."

UNUSED = ("wandb",)
"""Packages that timm imports where they are installed, for functions that covtool does not call."""


@contextmanager
def libraries(*, as_json: bool = False) -> Iterator[None]:
    """Load libraries in the block: say so on a terminal, and leave out what no command needs.

    What is left out is only not found while the block lasts. This is for a process that is ours:
    another program, which imports covtool, may want it.

    Args:
        as_json: Whether the result is JSON, which a pipe gets without a line on the terminal.
    """
    if "torch" in sys.modules:
        yield
        return
    with _line(as_json=as_json), _without_collections(), _hidden(UNUSED):
        import_vision()
        yield


@contextmanager
def _line(*, as_json: bool) -> Iterator[None]:
    """Show a line while the block lasts, where a person may be waiting; nothing is left of it."""
    stream = sys.stderr
    if not launching.is_main() or not stream.isatty() or (as_json and not sys.stdout.isatty()):
        yield
        return
    stream.write(LINE)
    stream.flush()
    try:
        yield
    finally:
        # Blanks in place of an escape sequence: not every terminal knows those.
        stream.write(f"\r{' ' * len(LINE)}\r")
        stream.flush()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Put off looking for garbage: there is none among a million objects that are being made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules stay: later collections need not go through them
        # At the end they do go: extensions complain about what they find then.
        atexit.register(gc.unfreeze)
        if was_enabled:
            gc.enable()


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let packages look as if they were not installed, as long as the block lasts."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None is Python's own mark for it
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]
