import logging
import sys
import threading
import warnings

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool_cli import library_talk


@pytest.fixture
def shown(capsys):
    """Show warnings of libraries, which pytest would turn into errors."""
    with warnings.catch_warnings(), library_talk.in_lines(debug=False):
        warnings.simplefilter("always")
        yield lambda: capsys.readouterr().err


def record(text, *arguments):
    return logging.getLogRecordFactory()(
        "timm.models", logging.WARNING, "path.py", 1, text, arguments, None
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_warning_is_one_printable_line(shown, text):
    warnings.warn(text, UserWarning, stacklevel=1)
    (line,) = shown().splitlines()
    assert line.startswith("warning: ")
    assert not acts_on_a_terminal(line)
    assert len(line) < 10 * library_talk.LONGEST_REMARK + 50


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_record_is_one_printable_line(shown, text):
    logging.lastResort.handle(record("about %s", text))
    (line,) = shown().splitlines()
    assert line.startswith("warning: timm.models: about ")
    assert not acts_on_a_terminal(line)


def test_handlers_of_libraries_get_printable_text_as_well(shown):
    handler = logging.StreamHandler(sys.stderr)
    handler.handle(record("a\x1b[2Jb\n%s", "\u202e"))
    assert shown() == "a\\x1b[2Jb \\u202e\n"


def test_a_record_that_does_not_fit_its_own_text_is_shown_as_it_is(shown):
    logging.lastResort.handle(record("%d of %d", "one"))
    assert shown() == "warning: timm.models: %d of %d\n"


@pytest.mark.parametrize("category", library_talk.FOR_DEVELOPERS)
def test_what_is_for_developers_is_not_shown(shown, category, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    warnings.warn("old", category, stacklevel=1)
    assert shown() == ""


@pytest.mark.parametrize("category", [DeprecationWarning, UserWarning])
def test_debug_shows_all_of_it_and_where_it_comes_from(capsys, category):
    with warnings.catch_warnings(), library_talk.in_lines(debug=True):
        warnings.simplefilter("always")
        warnings.warn("old", category, stacklevel=1)
    err = capsys.readouterr().err
    assert err.startswith(f"warning: old ({category.__name__}, ")
    assert "test_library_talk.py" in err


def test_errors_that_nobody_can_catch_do_not_print_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

    class Untidy:
        def __del__(self):
            raise ValueError("a\x1b[2Jb")

    def fail():
        raise ValueError("a\x1b[2Jb\nc")

    with library_talk.in_lines(debug=False):
        Untidy()
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert capsys.readouterr().err == "warning: a thread ended with ValueError: a\\x1b[2Jb c\n"


def test_afterwards_everything_is_as_it_was():
    def hooks():
        factory = logging.getLogRecordFactory()
        return warnings.showwarning, factory, logging.lastResort, sys.unraisablehook

    before = hooks()
    with library_talk.in_lines(debug=False):
        assert hooks() != before
    assert hooks() == before


def test_a_remark_that_cannot_be_shown_is_no_reason_to_fail(monkeypatch):
    def fail(text):
        raise MemoryError

    monkeypatch.setattr("covtool_cli.render.warning", fail)
    with warnings.catch_warnings(), library_talk.in_lines(debug=False):
        warnings.simplefilter("always")
        warnings.warn("x", UserWarning, stacklevel=1)
        logging.lastResort.handle(record("x"))
