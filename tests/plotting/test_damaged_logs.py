"""Pictures of runs whose files are damaged: what is wrong is named with its line, or drawn."""

import json
import math
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import run_file_mutations as damage
from svdnet_runs import write_svdnet_run
from test_runs import step, write_run

from covtool.errors import ArgumentError, CovtoolError, DataError
from covtool.plotting import half_steps
from covtool.plotting.rri import plot_half_steps
from covtool.plotting.run_history import read_runs
from covtool.plotting.runs import plot_runs
from covtool.run_files import spectrum_rows
from covtool.specs.plotting import RunPlotSpec

COUNT = 15
DRAWN_IN = 40
"""Mutations for each that is also drawn: drawing takes longer than reading."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def phased(tmp_path: Path) -> Path:
    return write_svdnet_run(tmp_path / "phased")


def mutations(name: str, content: bytes, seed: int):
    of_format = damage.csv_of if name.endswith(".csv") else damage.json_lines_of
    yield from damage.bytes_of(content, seed, COUNT)
    yield from damage.lines_of(content, seed, COUNT)
    yield from of_format(content, seed, 2 * COUNT)


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.csv"])
def test_a_damaged_log_of_a_run_is_told_or_drawn(run: Path, name: str) -> None:
    draw = random.Random(0)
    for mutation in mutations(name, (run / name).read_bytes(), seed=0):
        (run / name).write_bytes(mutation.content)
        try:
            read_runs([run])
            if draw.random() < 1 / DRAWN_IN:
                plot_runs([run], run / "x.svg", overwrite=True)
        except CovtoolError as problem:
            assert isinstance(problem, DataError), (mutation.name, problem)
            assert str(run) in str(problem) or "can be drawn" in str(problem), mutation.name


def test_a_damaged_log_of_half_steps_is_told_or_drawn(phased: Path) -> None:
    draw, name = random.Random(0), "summary.csv"
    for mutation in mutations(name, (phased / name).read_bytes(), seed=0):
        (phased / name).write_bytes(mutation.content)
        try:
            half_steps.read_half_steps(phased)
            if draw.random() < 1 / DRAWN_IN:
                plot_half_steps([phased], phased / "x.svg", overwrite=True)
        except CovtoolError as problem:
            assert isinstance(problem, DataError), (mutation.name, problem)
            assert str(phased) in str(problem), mutation.name


def test_damaged_spectra_are_told_or_whole(phased: Path) -> None:
    name, line = "spectra.jsonl", '{"epoch":%d,"phase":"base","singular_values":[2.5,1.25,0]}\n'
    content = "".join(line % epoch for epoch in range(1, 9)).encode()
    for mutation in mutations(name, content, seed=0):
        (phased / name).write_bytes(mutation.content)
        try:
            found = list(spectrum_rows(phased))
        except DataError as problem:
            assert str(phased / name) in str(problem), mutation.name
            continue
        epochs = [row.epoch for row in found]
        assert epochs == sorted(set(epochs)), mutation.name
        for row in found:
            assert all(map(math.isfinite, row.values)), mutation.name
            assert list(row.values) == sorted(row.values, reverse=True), mutation.name
            assert row.values[-1] >= 0, mutation.name


@pytest.mark.parametrize(
    "row",
    [
        "[]",
        '{"epoch": 1, "phase": "base"}',
        '{"epoch": -1, "phase": "base", "singular_values": [1]}',
        '{"epoch": 1, "phase": 2, "singular_values": [1]}',
        '{"epoch": 1, "phase": "base", "singular_values": []}',
        '{"epoch": 1, "phase": "base", "singular_values": [1, 2]}',
        '{"epoch": 1, "phase": "base", "singular_values": [1, -1]}',
        '{"epoch": 1, "phase": "base", "singular_values": [true]}',
        '{"epoch": 1, "phase": "base", "singular_values": [1e999]}',
    ],
)
def test_what_is_no_spectrum_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "spectra.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=r"spectra\.jsonl, line 1, is damaged"):
        list(spectrum_rows(tmp_path))


@pytest.mark.parametrize("kind", damage.IN_PLACE)
@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.csv"])
def test_something_else_in_the_place_of_a_log_is_reported(run: Path, name: str, kind: str) -> None:
    damage.in_place(run / name, kind)
    if name == "summary.csv" and kind in ("dangling", "missing"):
        (history,) = read_runs([run])  # no epoch is through
        assert not history.epochs
        return
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_runs([run])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(step(2)), "Its update is 2, after 2"),
        (json.dumps(step(3) | {"epoch": 0}), "Its epoch is 0, which is not a number of one"),
        (json.dumps(step(3) | {"update": True}), "Its update is True, which"),
        (json.dumps(step(3) | {"update": 2.5}), r"Its update is 2\.5, which"),
        (json.dumps(step(3) | {"update": 10**300}), "a number too large, which"),
        ('{"update": NaN, "epoch": 1}', "Its update is nan, which"),
        ('{"update": 3, "update": 4, "epoch": 1}', "The key 'update' stands twice"),
        ('{"update": 3, "epoch": 1, "a": ' + "9" * 5000 + "}", "thousands of digits"),
        ("[" * 200, "nested more than"),
        (json.dumps(step(3) | {"loss": True}), "loss is True"),
    ],
)
def test_a_line_that_cannot_be_an_updates_is_reported(run: Path, line: str, message: str) -> None:
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    with pytest.raises(DataError, match=rf"(?s)metrics\.jsonl, line 3, is damaged.*{message}"):
        read_runs([run])


def with_values(run: Path, **values: float) -> None:
    lines = [json.dumps(step(update) | values) + "\n" for update in range(1, 16)]
    (run / "metrics.jsonl").write_text("".join(lines))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -(10**400)])
def test_values_that_cannot_be_drawn_are_said(run: Path, value: float) -> None:
    with_values(run, grad_norm=value)
    result = plot_runs([run], run / "x.svg")
    assert "norm" in result.panels  # there is another line in it
    cause = "is infinite, not a number or too large to be drawn"
    assert result.notes == (f"run: grad_norm {cause} at 15 of 15 updates.",)
    with_values(run, grad_norm=value, grad_norm_centralized=value)
    assert "norm" not in plot_runs([run], run / "y.svg").panels
    with pytest.raises(ArgumentError, match=f"(?s)panel 'norm'.*{cause}"):
        plot_runs([run], run / "z.svg", RunPlotSpec(show=("norm",)))


def test_a_run_of_which_nothing_can_be_drawn_is_reported(run: Path) -> None:
    nothing = dict.fromkeys(("loss", "lr", "grad_norm", "grad_norm_centralized"), math.nan)
    with_values(run, **nothing)
    (run / "summary.csv").unlink()
    with pytest.raises(DataError, match="No run has anything that can be drawn"):
        plot_runs([run], run / "x.svg")
    assert not (run / "x.svg").exists()


def test_a_norm_of_zero_has_no_place_on_a_logarithmic_axis(run: Path) -> None:
    with_values(run, grad_norm=0.0, grad_norm_centralized=0.0)
    result = plot_runs([run], run / "x.svg")
    assert "norm" not in result.panels
    assert any("is not above 0" in note for note in result.notes)


NAMES = ("$\\frac$", "a$b$c", "_hidden", "\x1b[2J", "x" * 250, "漢字", "a\nb", "\udcff")


def test_the_names_of_runs_are_text(run: Path, tmp_path: Path) -> None:
    others = []
    for name in NAMES:
        with suppress(OSError):  # a file system that has no such name
            others.append(shutil.copytree(run, tmp_path / name))
    assert others
    result = plot_runs([run, *others], tmp_path / "x.svg")
    assert all(drawn.label.isprintable() for drawn in result.runs)
    assert "\x1b" not in (tmp_path / "x.svg").read_text()


def test_the_name_of_a_column_is_text(run: Path) -> None:
    summary = (run / "summary.csv").read_text()
    (run / "summary.csv").write_text(summary.replace("eval_top1", "eval_$\\frac\x1b[2J$"))
    plot_runs([run], run / "x.svg")
    assert "\x1b" not in (run / "x.svg").read_text()


def test_too_many_half_steps_are_told(tmp_path: Path, monkeypatch) -> None:
    run = write_svdnet_run(tmp_path / "run", iterations=3)
    monkeypatch.setattr(half_steps, "MOST_HALF_STEPS", 5)
    with pytest.raises(DataError, match="has 8 half-steps"):
        half_steps.read_half_steps(run)


def test_very_long_columns_are_bounded(run: Path, monkeypatch) -> None:
    monkeypatch.setattr("covtool.plotting.number_columns.MOST_NUMBERS", 50)
    with pytest.raises(DataError, match="more than 50 numbers"):
        read_runs([run])
