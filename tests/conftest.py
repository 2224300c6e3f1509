"""What every test shares. Set before anything imports torch or a hub client."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("COLUMNS", "160")
# The networks are tiny: threads of one test would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
