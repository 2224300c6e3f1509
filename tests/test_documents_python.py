"""Python in the documents runs as it is printed there, a page's blocks in order."""

import re
from pathlib import Path

import pytest
import torch
from retrieval_models import write_model
from retrieval_trees import write_market
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text()]
PRINTED = {"README.md": "torch.Size([1, 1000])"}


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with tiny files under the names that the documents use."""
    torch.manual_seed(0)
    checkpoint = create_model(parse_name("resnet10t")[0], num_classes=1000).state_dict()
    torch.save(checkpoint, tmp_path / "resnet50.pth")
    write_model(tmp_path)
    write_toy_data(tmp_path / "birds", train=2, val=2)
    write_market(tmp_path / "market1501")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Blocks of Python with the line that each begins at."""
    text = page.read_text()
    return [
        (text.count("\n", 0, found.start(2)), found[2])
        for found in BLOCK.finditer(text)
        if found[1] == "python"
    ]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_python_of_a_page_runs_in_order(page: Path, readers_folder: Path, capsys) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    for line, block in python_blocks(page):
        # empty lines in front, so that a traceback names the line of the page
        exec(compile("\n" * line + block, str(page), "exec"), names)
    assert PRINTED.get(page.name, "") in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_is_fenced_and_names_its_language(page: Path) -> None:
    text = page.read_text()
    prose = BLOCK.sub("", text)
    assert not re.search(r"^(?:    |\t)(?:from|import|covtool|python) ", prose, re.MULTILINE)
    assert "```" not in prose
    assert all(language for language, _ in BLOCK.findall(text))


def test_pages_with_python_are_found() -> None:
    assert {"README", "evaluate", "retrieval"} <= {page.stem for page in WITH_PYTHON}
