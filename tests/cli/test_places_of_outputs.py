"""Places that commands write to: a wrong one is refused in time, whatever the command."""

import os
from pathlib import Path

import pytest
from output_writers import contents, small_disk
from toy_data import write_toy_data

from covtool.atomic import require_writable
from covtool.errors import ArgumentError

NOTHING = "nothing.pth"
SEARCH = ["evaluate", NOTHING, "--data", "nowhere.csv", "--task", "retrieval"]
FILES = {
    "x.safetensors": ["convert", NOTHING, "-o"],
    "x.npz": ["embed", NOTHING, "nowhere", "-o"],
    "x.svg": ["plot", "operator", "-o"],
    "run.svg": ["plot", "run", "nowhere", "-o"],
    "rri.svg": ["plot", "rri", "nowhere", "-o"],
    "f.csv": [*SEARCH, "--save-features"],
    "r.png": [*SEARCH, "--save-ranks"],
}
"""Commands that write a file, by its name; what they are to read is not there."""

FOLDERS = {
    "finetune": ["finetune", "test_resnet", "--data", "nowhere", "--output"],
    "svdnet-rri": ["svdnet-rri", "test_resnet", "--data", "nowhere", "--output"],
    "demo": ["demo", "--folder"],
}
"""Commands that write a folder."""

PLACES = {
    "a pipe": (os.mkfifo, "is a pipe, not a file"),
    "a device": (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
    "what is open": (lambda path: path.symlink_to("/proc/self/fd/2"), "not a file"),
    "a circle": (lambda path: path.symlink_to(path), "cannot be written"),
}


def refused(answer):
    """Return the error of a command that was refused before it did anything."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert "unexpected error" not in err
    assert "nothing.pth" not in err
    assert "nowhere" not in err
    return err


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_refused_before_work(covtool, tmp_path, name, place):
    make, words = PLACES[place]
    make(tmp_path / name)
    assert words in refused(covtool(*FILES[name], name, "--overwrite"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FILES)
def test_a_disk_without_room_is_named_before_work(covtool, tmp_path, name):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", options=",nr_inodes=1"):
        err = refused(covtool(*FILES[name], f"disk/{name}"))
    assert "No space left on device." in err
    assert "Make room there" in err


@pytest.mark.parametrize("name", FILES)
def test_a_read_only_disk_is_named_before_work(covtool, tmp_path, name):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", options=",ro"):
        assert "Read-only file system." in refused(covtool(*FILES[name], f"disk/{name}"))


@pytest.mark.parametrize("command", FOLDERS)
@pytest.mark.parametrize("options", [",ro", ",nr_inodes=1"])
def test_so_is_one_for_folders(covtool, tmp_path, command, options):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", options=options):
        err = refused(covtool(*FOLDERS[command], "disk/deep/deeper"))
        assert list((tmp_path / "disk").iterdir()) == []
    assert "cannot be written" in err


@pytest.mark.parametrize("place", ["file", "pipe", "link"])
def test_runs_do_not_go_into_what_is_no_folder(covtool, tmp_path, place):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("missing/folder")
    err = refused(covtool(*FOLDERS["finetune"], place))
    assert "cannot be written" in err
    assert "--output" in err


@pytest.mark.parametrize("experiment", ["../up", "a/b", "..", ""])
def test_the_name_of_a_run_is_that_of_a_folder(covtool, tmp_path, experiment):
    data = write_toy_data(tmp_path / "toy", train=2, val=1)
    quick = ["--from-scratch", "--img-size", "32", "-b", "2", "-j", "0", "--device", "cpu"]
    named = ["--experiment", experiment, "--epochs", "1"]
    code, _, err = covtool("finetune", "test_resnet", "--data", data, *quick, *named)
    if experiment:
        assert code == 2
        assert "cannot be the name of a run" in err
        assert not (tmp_path / "runs").exists()
    else:
        assert (code, (tmp_path / "runs/finetune/test_resnet").is_dir()) == (0, True)


def test_a_run_that_cannot_be_described_leaves_no_folder(covtool, tmp_path):
    data = write_toy_data(tmp_path / "toy", train=2, val=1)
    (tmp_path / "disk").mkdir()
    quick = ["--from-scratch", "--img-size", "32", "-b", "2", "-j", "0", "--device", "cpu"]
    with small_disk(tmp_path / "disk", size="8k"):
        code, _, err = covtool(
            "finetune", "test_resnet", "--data", data, *quick, "--output", "disk/runs"
        )
        left = contents(tmp_path / "disk")
    assert code == 1
    assert "No space left on device" in err
    assert "unexpected error" not in err
    assert left == {}


def test_a_figure_that_does_not_fit_is_told(covtool, tmp_path):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", size="8k"):
        code, out, err = covtool("plot", "operator", "-o", "disk/x.png")
        left = contents(tmp_path / "disk")
    assert (code, out, left) == (1, "", {})
    assert "error: disk/x.png cannot be written.\nNo space left on device.\nMake room" in err


@pytest.fixture
def gone(tmp_path, monkeypatch):
    """Go to a working folder that has been deleted."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


@pytest.mark.usefixtures("gone")
def test_a_deleted_working_folder_is_named():
    with pytest.raises(ArgumentError, match="the working folder has been deleted"):
        require_writable(Path("x.npz"), overwrite=False)
