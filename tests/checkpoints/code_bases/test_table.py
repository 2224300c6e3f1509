"""The table of code bases, its documentation, and rules that every row keeps."""

import re
from pathlib import Path

import pytest

from covtool.checkpoints.code_bases import CODE_BASES

DOCS = Path(__file__).parents[3] / "docs" / "checkpoints.md"
every_row = pytest.mark.parametrize("row", list(CODE_BASES), ids=CODE_BASES.names)


def test_the_documentation_has_every_row_and_no_other():
    text = DOCS.read_text()
    section = text[text.index("## Files of other code bases") :].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{row.name}` | {row.summary} | {row.source} |" for row in CODE_BASES]


@every_row
def test_every_pattern_compiles_and_signs_begin_with_no_anchor(row):
    patterns = [*row.signs, *row.unused, *row.unused_beside]
    patterns += [pattern for pattern, _ in (*row.rules, *row.beside)]
    assert all(re.compile(pattern) for pattern in patterns)
    assert not any(sign.startswith("^") for sign in row.signs)


@every_row
def test_a_row_s_words_are_lower_case_with_hyphens(row):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.name)
    assert "/" in row.source
