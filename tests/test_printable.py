import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool.printable import MOST_MARKS, escaped, printable

HARMLESS = ("resnet50", "Großer Brachvogel", "café", "cafe\u0301", "กำลัง", "鳥", "Ếe\u0302\u0301")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_acts_on_a_terminal_any_more(text):
    for shown in (printable(text), escaped(text)):
        assert not acts_on_a_terminal(shown)
        assert "\n" not in shown
        assert escaped(shown) == shown
        shown.encode("utf-8")
    assert len(printable(text)) < 2_500


@pytest.mark.parametrize("text", HARMLESS)
def test_words_of_all_languages_stay(text):
    assert printable(text) == text


def test_markup_is_left_to_whoever_would_read_it():
    assert printable("[red]a[/red]") == "[red]a[/red]"


def test_a_letter_keeps_as_many_marks_as_scripts_have():
    kept = "a" + "\u0301" * MOST_MARKS
    assert escaped(kept + "\u0301b\u0301") == kept + r"\u0301b" + "\u0301"


@pytest.mark.parametrize("invisible", "\u034f\u115f\u3164\ufe0f\u2800\U000e0100")
def test_what_shows_nothing_is_named(invisible):
    assert escaped(f"a{invisible}b").isascii()
