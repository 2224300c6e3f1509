"""What every test shares. Set before anything imports torch or a hub client."""

import gc
import os
import sys

import alone
import no_network
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("COLUMNS", "160")
# The networks are tiny: threads of one test would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Drawing takes longer than a tiny run: tests of the pages themselves ask for them.
os.environ.setdefault("COVTOOL_FINETUNE_REPORT", "0")
os.environ.setdefault("COVTOOL_SVDNET_RRI_REPORT", "0")
no_network.refuse_here_and_in_children()
# No test cuts the power: waiting for the disk is a fifth of a tiny run. Tests of a disk that fails
# put their own function here.
os.fsync = lambda handle: None


def pytest_collection_finish():
    """Leave what was imported and collected out of every later collection of garbage.

    Thousands of tests and torch itself are a million objects that stay to the end.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Let the end of the process find them: libraries complain about what is left."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run what is marked `alone` in a process of its own."""
    if alone.is_to_run_alone(pyfuncitem):
        alone.run_alone(pyfuncitem)
        return True
    return None


@pytest.fixture(autouse=True, scope="session")
def memory_of_activations_measured_once():
    """Tests of `activation_bytes` itself find the real one in its own module."""
    if "torch" not in sys.modules:
        yield
        return
    from measured_once import once

    from covtool.checkpoints import room

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room, "activation_bytes", once(room.activation_bytes))
        yield


@pytest.fixture(autouse=True)
def without_network():
    """A test that asks for the network fails, even where what asks goes on without an answer."""
    no_network.attempts.clear()
    yield
    assert not no_network.attempts, f"asked for the network: {no_network.attempts}"


@pytest.fixture
def covtool(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder: exit code, stdout, stderr."""
    from covtool_cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main.run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run
