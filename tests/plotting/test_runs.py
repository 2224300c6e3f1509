"""Pictures of runs: the values of the files are drawn, and those that are missing are named."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from svdnet_runs import write_svdnet_run

from covtool.atomic.formats import FIGURES
from covtool.errors import ArgumentError, DataError, OutputExistsError, UnknownVariantError
from covtool.plotting.figure_file import house_style
from covtool.plotting.run_curves import PANELS, moving_average, panel_curves
from covtool.plotting.run_history import read_runs, short_names
from covtool.plotting.runs import BEST, plot_runs, run_figure
from covtool.specs.plotting import RunPlotSpec

SUMMARY = ("epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr", "head")


def step(update: int, *, steps: int = 5, centralized: bool = True) -> dict:
    norm = 3 + math.sin(update)
    return {
        "epoch": 1 + (update - 1) // steps,
        "step": 1 + (update - 1) % steps,
        "steps": steps,
        "update": update,
        "loss": 2 / update,
        "lr": 0.1 / update,
        "grad_norm": norm,
        "images_per_s": 10.0,
        "eta_s": 1.0,
        "losses": {},
        "grad_norm_centralized": 0.8 * norm if centralized else None,
    }


def write_run(path: Path, *, updates: int = 15, **options) -> Path:
    """A run of five updates an epoch."""
    path.mkdir(parents=True)
    lines = [json.dumps(step(update, **options)) + "\n" for update in range(1, updates + 1)]
    (path / "metrics.jsonl").write_text("".join(lines))
    with (path / "summary.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SUMMARY)
        for epoch in range(updates // 5):
            writer.writerow((epoch, 1.0, 1.5 - 0.1 * epoch, 50.0 + epoch, "", 0.01, "isqrt"))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def only(history_path: Path):
    (history,) = read_runs([history_path])
    return history


def test_columns_are_what_the_files_say(run: Path) -> None:
    history = only(run)
    assert history.updates.tolist() == list(range(1, 16))
    for name in ("loss", "lr", "grad_norm", "grad_norm_centralized"):
        assert history.steps[name].tolist() == [step(u)[name] for u in range(1, 16)]
    assert history.epoch_ends.tolist() == [5, 10, 15]
    assert history.epochs["eval_top1"].tolist() == [50, 51, 52]
    assert history.label == "run"


def test_columns_of_text_and_of_nothing_are_no_numbers(run: Path) -> None:
    history = only(run)
    assert not {"head", "eval_top5", "losses"} & {*history.epochs, *history.steps}


def test_what_is_missing_or_infinite_is_not_drawn(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(step(2) | {"grad_norm": math.inf, "grad_norm_centralized": None})
    path.write_text("\n".join(lines) + "\n")
    columns = only(run).steps
    for name in ("grad_norm", "grad_norm_centralized"):
        assert np.isnan(columns[name]).tolist() == [False, True] + 13 * [False]


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.csv"])
@pytest.mark.parametrize("cut", range(1, 12))
def test_a_half_written_last_line_is_left_out(run: Path, name: str, cut: int) -> None:
    path = run / name
    text = path.read_text()
    start = text[:-1].rindex("\n") + 1
    path.write_text(text[: start + cut])
    history = only(run)
    assert len(history.updates) == (14 if name == "metrics.jsonl" else 15)
    assert len(history.epoch_ends) == (3 if name == "metrics.jsonl" else 2)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("metrics.jsonl", '{"epoch": 1, "upd', r"metrics\.jsonl, line 3, is damaged"),
        ("metrics.jsonl", "\0\0\0\0", r"metrics\.jsonl, line 3, is damaged"),
        ("metrics.jsonl", "7", "does not say which update"),
        ("metrics.jsonl", '{"loss": 1}', "does not say which update"),
        ("metrics.jsonl", json.dumps(step(3) | {"loss": "high"}), "loss is 'high'"),
        ("summary.csv", "1,2", r"summary\.csv, line 3, is damaged.\nIt has 2 values for 7"),
        ("summary.csv", "1,1.0,low,50.0,,0.01,isqrt", "eval_loss is 'low'"),
        ("summary.csv", '1,"1.0,0,0,0,0,0', r"summary\.csv, line 3, is damaged"),
    ],
)
def test_damage_in_the_middle_is_told_with_its_line(
    run: Path, name: str, line: str, message: str
) -> None:
    lines = (run / name).read_text().splitlines()
    lines[2] = line
    (run / name).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=message):
        only(run)


def test_a_table_without_epochs_is_reported(run: Path) -> None:
    (run / "summary.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="names no column 'epoch'"):
        only(run)


def test_bytes_that_are_no_text_are_told(run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl cannot be read"):
        only(run)


def test_what_is_no_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the folder of a run\.\nThere is no such folder"):
        only(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"not the folder of a run\.\nIt is a file"):
        only(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"It has no metrics\.jsonl"):
        only(tmp_path / "empty")
    (tmp_path / "empty/metrics.jsonl").touch()
    with pytest.raises(DataError, match="has no update yet"):
        only(tmp_path / "empty")


def test_a_run_in_its_first_epoch_has_no_evaluation_yet(run: Path) -> None:
    (run / "summary.csv").unlink()
    history = only(run)
    assert len(history.epoch_ends) == 0
    drawn = {p.name for p in PANELS if panel_curves(p, [history], RunPlotSpec())}
    assert drawn == {"loss", "lr", "norm"}


def test_an_epoch_without_lines_of_its_own_ends_where_it_must(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:5] + lines[10:]))
    assert only(run).epoch_ends.tolist() == [5, 10, 15]


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a/run", tmp_path / "b/run", tmp_path / "b/other"]
    assert short_names(paths) == ["a/run", "b/run", "b/other"]
    assert short_names(paths[1:]) == ["run", "other"]
    assert short_names([paths[0], paths[0]])[0].endswith("a/run")


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
def test_the_moving_average_is_the_mean_of_what_is_known_around(window: int) -> None:
    y = np.random.default_rng(0).normal(size=12)
    y[[3, 4]] = np.nan
    average = moving_average(y, window)
    for i in range(12):
        around = y[max(i - (window - 1) // 2, 0) : i + window // 2 + 1]
        expected = np.nan if np.isnan(y[i]) else np.nanmean(around)
        np.testing.assert_allclose(average[i], expected, rtol=1e-12)


def drawn_lines(axes) -> list[list[float]]:
    return [line.get_ydata().tolist() for line in axes.lines if line.get_gid() != BEST]


def rings(axes) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_gid() == BEST]
    return [(line.get_xdata().item(), line.get_ydata().item()) for line in found]


def figure_of(paths: list[Path], **settings):
    histories, spec = read_runs(paths), RunPlotSpec(**settings)
    panels = {p: c for p in PANELS if (c := panel_curves(p, histories, spec))}
    with house_style():
        return run_figure(histories, panels, spec)


def test_every_panel_shows_its_columns_over_the_epochs(run: Path) -> None:
    history = only(run)
    loss, metric, lr, norm = figure_of([run], smooth=1).axes
    steps, epochs = history.steps, history.epochs
    assert drawn_lines(loss) == [steps["loss"].tolist(), epochs["eval_loss"].tolist()]
    assert drawn_lines(metric) == [epochs["eval_top1"].tolist()]
    assert drawn_lines(lr) == [steps["lr"].tolist()]
    assert drawn_lines(norm) == [
        steps["grad_norm"].tolist(),
        steps["grad_norm_centralized"].tolist(),
    ]
    assert loss.lines[0].get_xdata().tolist() == [update / 5 for update in range(1, 16)]
    assert metric.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert lr.get_xlabel() == norm.get_xlabel() == "epochs (of 5 updates)"
    assert [axes.get_title(loc="left") for axes in (loss, metric)] == ["loss (nats)", "top-1 (%)"]
    assert norm.get_yscale() == "log"


def test_noisy_lines_are_averaged_and_the_others_are_not(run: Path) -> None:
    loss, metric, lr, norm = figure_of([run], smooth=3).axes
    counts = [len(axes.lines) for axes in (loss, metric, lr, norm)]
    assert counts == [3, 1, 1, 4]
    raw, trend = drawn_lines(loss)[:2]
    np.testing.assert_allclose(trend, moving_average(np.array(raw), 3))


def test_runs_differ_in_color_and_are_named(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, updates=20) for name in ("plain", "gc", "other")]
    figure = figure_of(paths, smooth=1)
    metric = figure.axes[1]
    assert len({line.get_color() for line in metric.lines}) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "gc", "other"]
    named = {h.get_color() for h in legend.get_lines()}
    assert named == {line.get_color() for line in metric.lines}


def test_runs_with_and_without_centralization_share_a_panel(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain", centralized=False)
    centralized = write_run(tmp_path / "gc")
    norm = figure_of([plain, centralized], smooth=1).axes[-1]
    assert len(norm.lines) == 3
    assert len(figure_of([plain], smooth=1).axes[-1].lines) == 1


def test_another_metric_may_be_shown(run: Path, tmp_path: Path) -> None:
    text = (run / "summary.csv").read_text()
    (run / "summary.csv").write_text(text.replace("eval_top1", "eval_share_of_friends"))
    result = plot_runs([run], tmp_path / "a.svg")
    assert result.runs[0].metric == "eval_share_of_friends"
    assert ">share of friends</text>" in (tmp_path / "a.svg").read_text()
    result = plot_runs([run], tmp_path / "b.svg", RunPlotSpec(metric="train_loss"))
    assert result.runs[0].last == 1.0
    with pytest.raises(ArgumentError, match="No run has a column 'eval_map'"):
        plot_runs([run], tmp_path / "c.svg", RunPlotSpec(metric="eval_map"))


@pytest.mark.parametrize("suffix", FIGURES)
def test_drawing_twice_gives_the_same_bytes(run: Path, suffix: str, tmp_path: Path) -> None:
    first, second = (plot_runs([run, run], tmp_path / f"{n}{suffix}").path for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_a_long_run_is_thinned_before_it_is_drawn(tmp_path: Path) -> None:
    path = write_run(tmp_path / "long", updates=5000)
    raw, trend = drawn_lines(figure_of([path]).axes[0])[:2]
    assert len(raw) <= 2000
    assert len(trend) == 5000


def test_the_result_says_what_was_drawn(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / "a/run"), write_run(tmp_path / "b/run", updates=3)]
    result = plot_runs(paths, tmp_path / "both.png")
    assert [(r.label, r.updates, r.epochs, r.last) for r in result.runs] == [
        ("a/run", 15, 3, 52.0),
        ("b/run", 3, 0, None),
    ]
    assert result.panels == ("loss", "metric", "lr", "norm")
    with Image.open(result.path) as image:
        assert image.width > 1500


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("a.jpg", {}, ArgumentError, r"one of \.png"),
        ("there.png", {}, OutputExistsError, "already exists"),
        ("a.png", {"show": ("los",)}, UnknownVariantError, "panel named 'los'.*'loss'"),
        ("a.png", {"labels": ("x", "y")}, ArgumentError, "--label is given 2 times for 1 runs"),
    ],
)
def test_mistakes_are_refused_and_write_nothing(
    run: Path, tmp_path: Path, name: str, settings: dict, error: type, message: str
) -> None:
    (tmp_path / "there.png").write_text("mine")
    with pytest.raises(error, match=message):
        plot_runs([run], tmp_path / name, RunPlotSpec(**settings))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "there.png"}
    assert (tmp_path / "there.png").read_text() == "mine"


def test_a_panel_that_is_asked_for_must_have_something(run: Path, tmp_path: Path) -> None:
    (run / "summary.csv").unlink()
    with pytest.raises(ArgumentError, match=r"'metric'.\nIt is read from summary\.csv"):
        plot_runs([run], tmp_path / "a.png", RunPlotSpec(show=("metric",)))
    with pytest.raises(ArgumentError, match="No run is given"):
        plot_runs([], tmp_path / "a.png")


def test_epochs_that_are_not_evaluated_leave_no_gap(tmp_path: Path) -> None:
    run = write_svdnet_run(tmp_path / "rri", 1, epochs=2, updates=5)
    _, metric, correlation, _ = figure_of([run]).axes
    rows = list(csv.DictReader((run / "summary.csv").read_text().splitlines()))
    evaluated = [row for row in rows if row["eval_rank1"]]
    assert [row["epoch"] for row in evaluated] == ["-1", "1", "3", "5"]
    (line,) = metric.lines
    assert line.get_xdata().tolist() == [0, 2, 4, 6]
    assert line.get_ydata().tolist() == [float(row["eval_rank1"]) for row in evaluated]
    (line,) = correlation.lines
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert line.get_ydata().tolist() == [float(row["correlation"]) for row in rows]
    assert correlation.get_title(loc="left") == "correlation S(W) of the Eigenlayer"


@pytest.mark.parametrize(
    ("column", "title"),
    [
        (None, "rank-1 / Recall@1 (%)"),
        ("eval_rank10", "rank-10 / Recall@10 (%)"),
        ("eval_mAP", "mAP (%)"),
        ("eval_mINP", "mINP (%)"),
        ("eval_r_precision", "R-precision (%)"),
        ("eval_mAP_at_R", "mAP@R (%)"),
    ],
)
def test_figures_of_retrieval_have_their_names(
    tmp_path: Path, column: str | None, title: str
) -> None:
    run = write_svdnet_run(tmp_path / "rri", 1)
    assert figure_of([run], metric=column).axes[1].get_title(loc="left") == title


def test_the_start_of_a_run_is_no_epoch(tmp_path: Path) -> None:
    run = write_svdnet_run(tmp_path / "rri", 1, epochs=2)
    (drawn,) = plot_runs([run], tmp_path / "a.png").runs
    assert (drawn.epochs, drawn.metric, drawn.last) == (6, "eval_rank1", 55.0)


@pytest.mark.parametrize(("epochs", "marked"), [(2, True), (30, False)])
def test_epochs_are_marked_unless_they_are_many(tmp_path: Path, epochs: int, marked: bool) -> None:
    run = write_svdnet_run(tmp_path / "rri", 1, epochs=epochs, updates=1)
    _, metric, correlation, _ = figure_of([run]).axes
    assert (correlation.lines[0].get_marker() == "o") == marked
    assert metric.lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("metric", "best"), [("top1", (2, 90.0)), ("loss", (3, 0.3)), ("top5", None), (None, None)]
)
def test_the_first_epoch_that_is_best_by_the_runs_own_metric_has_a_ring(
    run: Path, metric: str | None, best: tuple | None
) -> None:
    rows = ["0,1,0.5,80,,0.1,", "1,1,0.4,90,,0.1,", "2,1,0.3,90,,0.1,"]
    (run / "summary.csv").write_text("\n".join([",".join(SUMMARY), *rows]) + "\n")
    if metric is not None:
        (run / "args.yaml").write_text(f"eval_metric: {metric}\n")
    loss, top1, lr, norm = figure_of([run]).axes
    shown = rings(top1 if metric == "top1" else loss)
    assert shown == ([best] if best else [])
    assert rings(lr) == rings(norm) == []
    assert (len(rings(loss)), len(rings(top1))) == ((1, 1) if best else (0, 0))


def test_runs_are_as_wide_as_each_other_and_a_line_that_they_share_shows_each(
    tmp_path: Path,
) -> None:
    paths = [write_run(tmp_path / name, updates=n) for name, n in (("a", 20), ("b", 20), ("c", 10))]
    axes = figure_of(paths, smooth=1).axes
    for panel, lines in zip(axes, (2, 1, 1, 2), strict=True):
        drawn = [line for line in panel.lines if line.get_gid() != BEST]
        widths = [line.get_linewidth() for line in drawn]
        assert widths == 3 * widths[:lines]
    offsets = [line._unscaled_dash_pattern for line in axes[2].lines]
    (on, off), starts = offsets[0][1], [offset for offset, _ in offsets]
    assert off == 2 * on
    assert starts == [0, on, 2 * on]


def test_no_legend_lies_on_a_panel(tmp_path: Path) -> None:
    figure = figure_of([write_run(tmp_path / name, updates=20) for name in ("a", "b")])
    with house_style():
        figure.draw_without_rendering()
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert len(legends) == 2
    for legend in legends + figure.legends:
        box = legend.get_window_extent().padded(-1)  # a pixel of rounding
        assert not any(box.overlaps(axes.patch.get_window_extent()) for axes in figure.axes)


def test_runs_whose_epochs_differ_in_updates_are_compared_by_epochs(tmp_path: Path) -> None:
    few, many = write_run(tmp_path / "few"), write_run(tmp_path / "many", updates=30, steps=10)
    metric = figure_of([few, many]).axes[1]
    assert figure_of([few, many]).axes[-1].get_xlabel() == "epochs"
    assert metric.get_xlim() == (0, 6)
