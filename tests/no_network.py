"""No test reaches the network: what connects elsewhere than to this machine is refused and noted.

An audit hook sees what libraries do below Python's `socket` module too. It cannot be taken back,
which is the point. Sockets of this machine stay allowed: processes that train together use them.
"""

import errno
import ipaddress
import os
import sys
from pathlib import Path

LOCAL_NAMES = ("localhost", "localhost.localdomain", "", None)
ASKED_BY_NAME = ("socket.getaddrinfo", "socket.gethostbyname")
ASKED_BY_ADDRESS = ("socket.connect", "socket.sendto", "socket.sendmsg")

attempts: list[str] = []
"""What was refused, in order; a test that finds its own attempt here has failed."""


class NoNetworkError(OSError):
    """A test asked for the network."""

    def __init__(self, what: str):
        super().__init__(errno.ENETUNREACH, f"Tests have no network, but asked for {what}")


def refuse() -> None:
    """Refuse the network in this process from now on, and in those forked from it."""
    sys.addaudithook(_watch)


def refuse_here_and_in_children() -> None:
    """The same, and in Python processes that are started afresh: they find `sitecustomize`."""
    refuse()
    folder = str(Path(__file__).parent / "without_network")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, *paths]))


def is_local(host: object) -> bool:
    """Whether a name or an address is this machine's own."""
    name = os.fsdecode(host) if isinstance(host, bytes | bytearray) else host
    if name in LOCAL_NAMES or name == os.uname().nodename:
        return True
    try:
        address = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _watch(event: str, arguments: tuple) -> None:
    if event in ASKED_BY_NAME:
        host = arguments[0]
    elif event in ASKED_BY_ADDRESS and isinstance(arguments[-1], tuple):
        host = arguments[-1][0]
    else:  # another event, or the path of a Unix socket
        return
    if not is_local(host):
        attempts.append(f"{event.partition('.')[2]} {host!r}")
        raise NoNetworkError(attempts[-1])
