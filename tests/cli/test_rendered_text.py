"""The renderer is the last that could let text of a file act on a terminal."""

import io
import json
import sys

import pytest
import yaml
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool.errors import CovtoolError
from covtool.training import StepRecord
from covtool_cli import render
from covtool_cli.progress import TrainingBar, TrainingLines


def error_of(text):
    problem = CovtoolError("")
    problem.message = problem.reason = problem.hint = text  # past the error's own escaping
    return problem


SHOWN = {
    "table": lambda text: render.table("t", ("a", "b"), [(text, 1), (text, 2)]),
    "title": lambda text: render.table(text, ("a", "b"), [("x", 1)]),
    "column": lambda text: render.table("t", (text, "b"), [("x", 1)]),
    "lines": lambda text: render.table("t", ("a",), [(render.Lines((text, text)),)]),
    "pair": lambda text: render.pairs("t", [("name", text)]),
    "name of a pair": lambda text: render.pairs("t", [(text, "value")]),
    "title of pairs": lambda text: render.pairs(text, [("name", "value")]),
    "line": render.line,
    "note": render.note,
    "warning": render.warning,
    "error": lambda text: render.error(error_of(text)),
    "record": lambda text: render.yaml_text({"name": text, text[:100]: [1]}),
    "json": lambda text: render.json_object({"name": text, text: 1}),
    "exact": render.exact_text,
    "note of training": lambda text: TrainingLines().on_note(text),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_nothing_in_a_text_acts_on_the_terminal(show, text, capsys):
    show(text)
    out, err = capsys.readouterr()
    shown = out + err
    assert shown.strip()
    assert not acts_on_a_terminal(shown)
    shown.encode("utf-8")


FORGED = {"table", "pair", "line", "note", "warning", "note of training"}


@pytest.mark.parametrize("kind", sorted(FORGED))
def test_a_text_cannot_begin_a_line_of_its_own(kind, capsys):
    SHOWN[kind]("a\nerror: forged")
    out, err = capsys.readouterr()
    assert not any(line.strip(" │┃").startswith("error:") for line in (out + err).splitlines())


@pytest.mark.parametrize("kind", sorted(set(SHOWN) - {"name of a pair"}))
def test_markup_is_text(kind, capsys):
    SHOWN[kind]("[red]a[/red] [/] :smile:")
    out, err = capsys.readouterr()
    assert "[red]a[/red][/]:smile:" in "".join((out + err).split())  # titles may be wrapped


@pytest.mark.parametrize("kind", ["note", "warning", "pair", "title"])
def test_a_text_is_cut_to_a_length(kind, capsys):
    SHOWN[kind]("x" * 1_000_000)
    out, err = capsys.readouterr()
    assert (out + err).count("x") <= render.LONGEST_LINE


def test_what_is_written_for_programs_can_be_read_again(capsys):
    texts = [text for text in HOSTILE.values() if "\ud800" not in text]
    render.json_object({"names": [*texts, "\ud800"]})
    assert json.loads(capsys.readouterr().out) == {"names": [*texts, "\ud800"]}
    render.yaml_text({"names": texts})
    assert yaml.safe_load(capsys.readouterr().out) == {"names": texts}
    render.yaml_text({"names": ["café", "鳥"]})
    assert "café" in capsys.readouterr().out


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize("text", ["[/]", "[red]a", "a\x1b]0;owned\x07b\u202e"])
def test_a_bar_says_what_it_is_told_and_nothing_else(monkeypatch, text):
    terminal = on_a_terminal(monkeypatch)
    assert list(render.track(range(3), text, 3)) == [0, 1, 2]
    shown = terminal.getvalue()
    assert "\x1b]0;" not in shown
    assert "\u202e" not in shown
    assert text[:3].replace("\x1b", r"\x1b") in shown


def test_the_bar_of_a_training_run_has_no_markup(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    with TrainingBar() as bar:
        bar.on_step(
            StepRecord(
                epoch=1,
                step=1,
                steps=2,
                loss=1.0,
                lr=0.1,
                grad_norm=1.0,
                images_per_s=1.0,
                eta_s=1.0,
                update=1,
            )
        )
        bar.on_note("[/] not markup")
    assert "[/] not markup" in terminal.getvalue()


def test_a_title_is_one_line_however_narrow_what_is_below_it(capsys):
    render.pairs("Model card written", [("a", 1)])
    render.table("Points from the start", ("a",), [(1,)])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "Model card written"
    assert "Points from the start" in shown


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    render.json_object({"loss": float("nan"), "rows": ({"auc": float("inf")}, 0.5)})
    shown = capsys.readouterr().out
    assert json.loads(shown, parse_constant=pytest.fail) == {
        "loss": None,
        "rows": [{"auc": None}, 0.5],
    }
