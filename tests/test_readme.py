"""Every command in the README runs as it is printed there, on stand-ins of the files it names."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from readme_commands import README, covtool_commands, shell_lines
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name
from covtool_cli.main import COMMANDS, run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a checkpoint called resnet50.pth and images called birds."""
    torch.manual_seed(0)
    torch.save(
        create_model(parse_name("resnet10t")[0], num_classes=1000).state_dict(),
        tmp_path / "resnet50.pth",
    )
    write_toy_data(tmp_path / "birds", train=4, val=2)
    shutil.copytree(next((tmp_path / "birds" / "val").iterdir()), tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for variable, value in {"EPOCHS": "1", "WORKERS": "0"}.items():
        monkeypatch.setenv(f"COVTOOL_FINETUNE_{variable}", value)
    return tmp_path


def test_shell_commands_run_in_order(users_folder: Path) -> None:
    commands = covtool_commands()
    for arguments in commands:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        assert ended.value.code == 0, arguments
    assert len(commands) >= 3
    assert (users_folder / "runs/finetune/resnet50-isqrt/exported/best.safetensors").exists()
    for name in ("answers.csv", "answers.png", "birds.onnx", "hits.csv", "hits.png", "birds.md"):
        assert (users_folder / name).stat().st_size


def test_other_shell_commands_are_known_ones() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in shell_lines():
        program, *arguments = line.split()
        if program == "make":
            assert f"\n{arguments[0]}:" in makefile
        else:
            assert program == "covtool" or line == "pip install ."


def test_table_names_every_command() -> None:
    for name in COMMANDS:
        assert f"`covtool {name}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_linked_documents_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_contents_list_every_page() -> None:
    contents = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        assert page.name == "index.md" or f"{page.name})" in contents
    assert "(docs/index.md)" in README
