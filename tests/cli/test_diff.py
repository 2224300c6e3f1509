"""`covtool diff` as a user runs it."""

import json

import pytest
import torch
from averaged_models import make_variant, write_variant
from in_process import covtool

from covtool.checkpoints.model_file import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    for number in range(2):
        write_variant(folder, number)
    write_variant(folder, 2, class_names=("a", "red", "\x1b[2J"))
    half = make_variant(0, dtype=torch.float16).float()
    save(half, folder / "coarse.safetensors")
    save(half.half(), folder / "half.safetensors")
    return folder


def test_what_differs_is_shown_by_module_and_with_all_by_tensor(folder) -> None:
    done = covtool("diff", "net0.safetensors", "net1.safetensors", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Recipes: equal." in done.stdout
    assert "changed" in done.stdout
    assert "fc.weight" not in done.stdout
    assert len(done.stdout.splitlines()) < 45
    done = covtool("diff", "net0.safetensors", "net1.safetensors", "--all", cwd=folder)
    assert "fc.weight" in done.stdout


@pytest.mark.parametrize(("other", "code"), [("net0", 0), ("net1", 1)])
def test_the_exit_code_says_whether_they_differ(folder, other, code) -> None:
    files = ("net0.safetensors", f"{other}.safetensors")
    assert covtool("diff", *files, "--exit-code", cwd=folder).returncode == code
    done = covtool("diff", *files, "--exit-code", "--json", cwd=folder)
    assert (done.returncode, json.loads(done.stdout)["differs"]) == (code, bool(code))
    assert covtool("diff", *files, cwd=folder).returncode == 0


def test_another_dtype_is_said(folder) -> None:
    done = covtool("diff", "coarse.safetensors", "half.safetensors", "--all", cwd=folder)
    assert "equal in another dtype" in done.stdout
    assert "float32" in done.stdout
    assert "float16" in done.stdout


def test_names_of_classes_are_made_printable(folder) -> None:
    done = covtool("diff", "net0.safetensors", "net2.safetensors", cwd=folder)
    assert "\x1b[2J" not in done.stdout
    assert "gone, 2" in done.stdout
    assert "new, 2" in done.stdout


def test_equal_files_are_one_line(folder) -> None:
    done = covtool("diff", "net0.safetensors", "net0.safetensors", cwd=folder)
    assert done.stdout.startswith("No differences: recipes and ")
    assert len(done.stdout.splitlines()) == 1


def test_equal_files_that_are_not_recognized_are_not_said_to_have_equal_recipes(tmp_path) -> None:
    torch.save({"head.a": torch.zeros(3)}, tmp_path / "odd.pth")
    done = covtool("diff", "odd.pth", "odd.pth", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "No differences: 1 tensor equal.",
        "Recipes: not compared, as one of the models is not recognized.",
    ]


def test_a_missing_file_is_an_error(folder) -> None:
    done = covtool("diff", "net0.safetensors", "gone.pth", "--exit-code", cwd=folder)
    assert done.returncode == 3
    assert "gone.pth" in done.stderr
