"""What a call does to the world outside of its case: files it opens, sockets, programs."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

ALLOWED = ("/proc", "/sys", "/dev/", "/usr/share")
"""Where a call may open files beside its own folder and the installation.

A device that a link leads to is opened before it can be seen to be one; it must not be read.
"""

PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
SOCKETS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")


@dataclass
class Watch:
    """What was seen while a call ran.

    Attributes:
        foreign: Files that were opened outside of what is allowed.
        sockets: Addresses and names that were asked for; all were refused.
        programs: Programs that were to be started; all were refused.
    """

    allowed: tuple[str, ...]
    foreign: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def see(self, event: str, arguments: tuple) -> None:
        if event == "open":
            self._see_file(arguments[0])
        elif event in PROGRAMS:
            self.programs.append(str(arguments[0])[:200])
            raise PermissionError(f"A fuzzed call was to start {self.programs[-1]}.")
        elif event in SOCKETS and not isinstance(arguments[-1], str | bytes):
            self.sockets.append(f"{event.partition('.')[2]} {arguments!r}"[:200])
            raise PermissionError(f"A fuzzed call asked the network: {self.sockets[-1]}.")

    def _see_file(self, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        real = os.path.realpath(os.fsdecode(path))
        if not real.startswith(self.allowed):
            self.foreign.append(real[:200])


_watches: list[Watch] = []
_hooked: list[bool] = []


def _see(event: str, arguments: tuple) -> None:
    for watch in tuple(_watches):
        _watches.clear()  # what the watch itself does is not watched
        try:
            watch.see(event, arguments)
        finally:
            _watches.append(watch)


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Watch this process while a call runs whose own files are in `folder`."""
    if not _hooked:
        sys.addaudithook(_see)
        _hooked.append(True)
    watch = Watch(allowed=(os.path.realpath(folder), *_installation(), *ALLOWED))
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.clear()


def _installation() -> tuple[str, ...]:
    """Python, its packages and covtool's own code."""
    places = [*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, *sys.path]
    code = [REPOSITORY / name for name in ("covtool", "cli")]
    packages = [Path(module.__file__).parents[1] for module in _packages()]
    real = {os.path.realpath(place) for place in (*places, *code, *packages) if str(place)}
    return tuple(place for place in real if place not in ("/", str(REPOSITORY), "/tmp"))


def _packages() -> list:
    names = ("torch", "timm", "PIL", "yaml")
    return [sys.modules[name] for name in names if name in sys.modules]
