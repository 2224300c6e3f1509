import signal

import pytest

PATIENCE = 120  # seconds on the wall, in which a call that hangs is ended; it would hang the tests


class HangsError(BaseException):
    """A call hangs; nothing that it calls takes this for an error of its own."""


@pytest.fixture(autouse=True)
def patience():
    def end(number, frame):
        raise HangsError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """Where the whole files of each kind are made, when they are first asked for."""
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture
def case_folder(tmp_path):
    """An empty place for a case: its files, and what should stay empty."""
    for name in ("case", "tmp", "home"):
        (tmp_path / name).mkdir()
    return tmp_path
