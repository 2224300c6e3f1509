import pytest


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
