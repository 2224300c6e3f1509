"""Tables at any width: no word and no number is broken, and nothing is left out."""

import random
import re

import pytest
from rich.console import Console

from covtool_cli import render
from covtool_cli.commands import list as listing
from covtool_cli.table_layout import BORDER, widths

KINDS = tuple(listing.TITLES)


@pytest.fixture
def narrow(monkeypatch):
    def set_width(width: int) -> None:
        monkeypatch.setattr(render, "stdout", lambda: Console(width=width, highlight=False))

    return set_width


def words_of(text: str) -> list[str]:
    return re.sub(r"[│┃┏┓┗┛┡┩╇┳━─┌┐└┘├┤┬┴┼]", " ", text).split()


@pytest.mark.parametrize("seed", range(20))
def test_every_word_of_a_table_is_whole(seed: int, narrow, capsys) -> None:
    chosen = random.Random(seed)
    narrow(80)
    columns = [chosen.choice(("name", "peak MiB", "error of the root")) for _ in range(8)]
    columns = columns[: chosen.randint(1, 8)]
    word = ["resnet50.a1_in1k", "top-1", "Newton-Schulz", "iteration", "a"]
    rows = [
        [
            chosen.choice((f"{chosen.uniform(0, 1e6):,.2f}", " ".join(chosen.choices(word, k=5))))
            for _ in columns
        ]
        for _ in range(5)
    ]
    render.table("Any", columns, rows)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    found = words_of(shown)
    for row in rows:
        for cell in row:
            assert all(part in found for part in cell.split())


@pytest.mark.parametrize("room", [20, 40, 80, 200])
def test_widths_fill_the_room_and_hold_the_longest_word(room: int) -> None:
    columns, rows = ("name", "long text"), [["abcdef", "one two three four five " * 4]]
    found = widths(columns, rows, room, numeric=(False, False))
    assert sum(found) + BORDER * 2 + 1 <= room
    assert found[0] >= 6
    assert found[1] >= 5


def test_what_does_not_fit_has_no_widths() -> None:
    assert widths(("a", "b"), [["x" * 40, "y" * 40]], 80, numeric=(False, False)) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wide", [(), ("--wide",)])
def test_lists_have_whole_words_at_80_columns(kind: str, wide, narrow, covtool) -> None:
    narrow(80)
    code, out, _ = covtool("list", kind, *wide)
    assert code == 0
    narrow(2000)
    _, whole, _ = covtool("list", kind, *wide)
    assert max(map(len, out.splitlines())) <= 80
    # 60 columns is what a cell of a list of rows has beside its name
    assert {word for word in words_of(whole) if len(word) <= 60} <= set(words_of(out))
