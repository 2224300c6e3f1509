"""Figures have one spelling in what people read: top-1, rank-1, Recall@1."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/*.md")])
MODULES = sorted([*ROOT.glob("covtool/**/*.py"), *ROOT.glob("cli/**/*.py")])
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
# Keys of JSON and options (top_1, rank1) stay; they are code.
OTHER_SPELLINGS = re.compile(
    r"\b(?:[Tt]op|[Rr]ank) [15]\b|\b(?:Top|Rank|TOP|RANK)[15]\b|\bTOP-[15]\b|\bRANK-[15]\b"
    r"|\bR@\d|\brecall@1\b|\b[Rr]ecall[ -]?(?:at )?1\b|\b(?:CMC|cmc)[@-]\d"
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents(path: Path) -> None:
    prose = CODE.sub("", path.read_text(encoding="utf-8"))
    assert OTHER_SPELLINGS.findall(prose) == []
    assert re.findall(r"\b(?:top|rank)[_]?[15]\b", prose) == []


def test_messages_labels_and_docstrings() -> None:
    found = {
        path.relative_to(ROOT): OTHER_SPELLINGS.findall(path.read_text(encoding="utf-8"))
        for path in MODULES
    }
    assert {path: words for path, words in found.items() if words} == {}


@pytest.mark.parametrize("text", ["top 1", "Top1", "Rank 1", "R@1", "recall@1", "CMC-1", "TOP-1"])
def test_other_spellings_are_found(text: str) -> None:
    assert OTHER_SPELLINGS.search(f"The {text} is")


@pytest.mark.parametrize("text", ["top-1", "Top-5", "rank-1", "Rank-1", "Recall@1", "rank 48"])
def test_the_right_spellings_pass(text: str) -> None:
    assert not OTHER_SPELLINGS.search(f"The {text} is")
