"""Tests have no network, those of this process and those that it starts."""

import socket
import subprocess
import sys

import no_network
import pytest


@pytest.fixture
def forgiven(without_network):
    """What is asked for here is asked for on purpose."""
    yield
    assert no_network.attempts
    no_network.attempts.clear()


def _connect(address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as made:
        made.settimeout(1)
        made.connect(address)


ASKED = {
    "an address": lambda: _connect(("192.0.2.1", 80)),
    "an address of six": lambda: _connect(("2001:db8::1", 80), socket.AF_INET6),
    "a name": lambda: socket.getaddrinfo("host.invalid", 443),
    "a name in the old way": lambda: socket.gethostbyname("host.invalid"),
    "a connection": lambda: socket.create_connection(("host.invalid", 443), 1),
    "a datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    "below the module": lambda: socket._socket.socket().connect(("192.0.2.1", 80)),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_is_elsewhere_is_refused_and_noted(ask, forgiven):
    with pytest.raises(no_network.NoNetworkError):
        ask()


def test_processes_of_this_machine_may_talk():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 5).close()
    first, second = socket.socketpair()
    with first, second:
        first.sendall(b"x")
        assert second.recv(1) == b"x"
    assert socket.getaddrinfo("localhost", 80)


def test_a_process_that_is_started_afresh_has_none_either():
    code = "import socket; socket.getaddrinfo('host.invalid', 80)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "NoNetworkError" in done.stderr
