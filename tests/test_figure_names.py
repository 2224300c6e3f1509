"""Figures have one spelling wherever people read them; files and options keep their names."""

import ast
import re
from pathlib import Path

import pytest

from covtool.figure_names import NAMES, RANKS, figure_name, figure_title, rank_words
from covtool.training.run.logs import PHASED_COLUMNS, SEARCHED_COLUMNS, SUMMARY_COLUMNS
from covtool.training.run.records import COLUMNS, EVAL_METRICS

ROOT = Path(__file__).parents[1]
RAW = re.compile(r"_|\b(top|rank)\d")
OTHER_SPELLING = re.compile(
    r"\bR@\d|\brecall@\d|\b(Top|Rank|TOP|RANK)-?\d|\b(top|rank) \d\b|\btop-?(one|five)\b|\bacc@\d"
)
TEXTS = [
    path
    for folder in ("cli", "covtool/reporting", "covtool/plotting", "covtool/evaluation")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", [*COLUMNS, *COLUMNS.values(), *EVAL_METRICS])
def test_every_measured_figure_has_words(name: str) -> None:
    assert name.removeprefix("eval_") in NAMES
    assert not RAW.search(figure_name(name))
    assert figure_title(name).endswith((" (%)", " (nats)"))


@pytest.mark.parametrize("columns", [SUMMARY_COLUMNS, SEARCHED_COLUMNS, PHASED_COLUMNS])
def test_every_column_of_a_summary_has_words_without_underscores(columns: tuple) -> None:
    titles = [figure_title(name) for name in columns]
    assert not [title for title in titles if RAW.search(title)]
    assert len(set(titles)) == len(columns)


def test_a_figure_has_the_same_words_under_each_of_its_names() -> None:
    assert {figure_name(n) for n in ("top1", "top_1", "eval_top1")} == {"top-1"}
    for k in RANKS:
        words = rank_words(k, has_cameras=None)
        assert {figure_name(n) for n in (f"rank{k}", f"rank_{k}", f"eval_rank{k}")} == {words}
        both = (rank_words(k, has_cameras=known) for known in (True, False))
        assert words == " / ".join(both)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_of_the_program_spells_them_otherwise(path: Path) -> None:
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [found[0] for text in texts if (found := OTHER_SPELLING.search(text))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_spells_them_otherwise(path: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = OTHER_SPELLING.search(prose) or re.search(r"\b(top|rank)_?\d+\b", prose)
    assert found is None, found
