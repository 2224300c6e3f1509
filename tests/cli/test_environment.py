import os

import pytest

from covtool.errors import ArgumentError
from covtool.specs import LoadingSpec
from covtool.user_cache import user_cache
from covtool_cli import environment
from covtool_cli.environment import SIZES, THREADS, without_nonsense

JUNK = ["", "0", "-1", "abc", "1.5", "²", "1e3", "9" * 5000, "99999999", "\x1b[2J", "a\udc9bb"]


@pytest.mark.parametrize("value", JUNK)
def test_sizes_of_a_terminal_that_make_no_sense_are_ignored(value):
    environment = dict.fromkeys(SIZES, value)
    assert without_nonsense(environment) == []
    assert environment == {}


@pytest.mark.parametrize("value", ["3", "4,2", " 8 "])
def test_numbers_of_threads_stay(value):
    environment = dict.fromkeys(THREADS, value)
    assert without_nonsense(environment) == []
    assert environment == dict.fromkeys(THREADS, value)


@pytest.mark.parametrize("value", [*JUNK, "2,x"])
def test_what_is_no_number_of_threads_is_named_and_ignored(value):
    environment = {"OMP_NUM_THREADS": value, "COLUMNS": "100"}
    (told,) = without_nonsense(environment)
    assert told.startswith("OMP_NUM_THREADS is ")
    assert told.isprintable()
    assert environment == {"COLUMNS": "100"}


def test_commands_run_with_nonsense_around_them(covtool, monkeypatch):
    for name in (*SIZES, *THREADS, "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TERM"):
        monkeypatch.setenv(name, "junk")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    code, out, err = covtool("list", "angulars")
    assert code == 0
    assert "cosine" in out
    assert err.splitlines() == [
        f"note: {name} is 'junk', which is not a number of threads: ignored." for name in THREADS
    ]


def test_a_command_is_not_silent_for_a_rank_alone(covtool, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert "cosine" in covtool("list", "angulars")[1]
    code, _, err = covtool("inspect", "there-is-no.pth")
    assert code == 3
    assert "does not exist" in err


@pytest.fixture
def deleted_folder(tmp_path):
    before = os.getcwd()  # noqa: PTH109
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    yield
    os.chdir(before)


def test_a_folder_that_was_deleted_is_named(deleted_folder, capsys):
    from covtool_cli import main

    for arguments, code in ((["list", "angulars"], 2), (["--version"], 0), (["--help"], 0)):
        with pytest.raises(SystemExit) as end:
            main.run(arguments)
        assert end.value.code == code
        assert ("working folder has been deleted" in capsys.readouterr().err) == bool(code)


def test_torch_keeps_the_level_that_a_user_chose(monkeypatch):
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "INFO")
    environment.quieten_torch()
    assert os.environ["TORCH_CPP_LOG_LEVEL"] == "INFO"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ArgumentError, match="no home folder"):
        user_cache()
    with pytest.raises(ArgumentError, match="no home folder"):
        _ = LoadingSpec(cache="disk").folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "covtool"


def test_a_folder_of_nobodys_home_is_taken_as_it_is_written():
    spec = LoadingSpec(cache="disk", cache_dir="~nobody-of-that-name/x")
    assert str(spec.folder) == "~nobody-of-that-name/x"
