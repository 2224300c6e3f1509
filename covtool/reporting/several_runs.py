"""A page about several training runs side by side."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from covtool.differences.runs import NAMES_OF_A_RUN
from covtool.ops.t_intervals import spread_of
from covtool.pages import Column, Notes, Page, Section, Table, Tile, Tiles
from covtool.plotting.run_curves import PANELS, metric_column, title_of
from covtool.plotting.run_history import RunHistory
from covtool.plotting.runs import notes_on_runs
from covtool.printable import first_few
from covtool.reporting.run_sections import as_text, curve_figure, curves, figure_column
from covtool.run_files import ARGUMENTS, doubts_of, notes_on_doubts, read_settings
from covtool.run_files.finals import GUESS
from covtool.specs import as_flag
from covtool.specs.plotting import RunPlotSpec

_OF_THE_LOSS = ("loss", "smoothing", "mixup", "cutmix", "orthogonality")
"""Settings that decide what the training loss is."""
_OF_A_REPEAT = ("seed", "seeds", "folds", "fold")
"""Settings that tell repeats of one run apart."""


def page_of_several(
    histories: Sequence[RunHistory], results: Sequence[Mapping[str, Any]], notes: Sequence[str]
) -> Page:
    """Return the page of several runs, with matplotlib's present settings.

    Args:
        histories: The runs.
        results: What result.json of each holds; nothing of a run that is not complete.
        notes: What the runs have noted.
    """
    spec = RunPlotSpec()
    settings = [read_settings(history.path / ARGUMENTS) for history in histories]
    doubts = {
        history.label: _doubts(result) for history, result in zip(histories, results, strict=True)
    }
    apart, shared = _names_of_settings(settings)
    caption = " ".join(["A ring marks each run's best epoch.", *_doubts_of_losses(apart)])
    blocks = [curves(curve_figure(histories, spec), caption)]
    differing, same = _settings_tables(histories, settings, apart, shared)
    sections = [
        Section(name="curves", title="Curves", blocks=blocks),
        Section(name="figures", title="Figures", blocks=[_figure_table(histories, apart, doubts)]),
        Section(name="settings", title="Settings that differ", blocks=[differing]),
        Section(name="same-settings", title="Settings that all share", blocks=[same]),
    ]
    return Page(
        title=f"{len(histories)} runs",
        subtitle=", ".join(history.label for history in histories),
        head=[
            _tiles(histories, settings, doubts),
            Notes(sentences=[*_notes(histories, results), *notes, *notes_on_runs(histories, spec)]),
        ],
        sections=sections,
    )


def _doubts(result: Mapping[str, Any]) -> str:
    guess, early = (result.get(name) is True for name in ("is_chance", "stopped_early"))
    return doubts_of(is_chance=guess, stopped_early=early)


def _notes(
    histories: Sequence[RunHistory], results: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Say which runs are not complete, no better than a guess, or ended early."""

    def labels(name: str) -> list[str]:
        pairs = zip(histories, results, strict=True)
        return [history.label for history, result in pairs if result.get(name) is True]

    unfinished = [h.label for h, result in zip(histories, results, strict=True) if not result]
    verb = "is" if len(unfinished) == 1 else "are"
    incomplete = (
        f"{len(unfinished)} of {len(histories)} runs {verb} not complete: "
        f"{first_few(unfinished, 5)}.",
    )
    doubts = notes_on_doubts(
        len(histories), guesses=labels("is_chance"), early=labels("stopped_early")
    )
    return (*(incomplete if unfinished else ()), *doubts)


def _tiles(
    histories: Sequence[RunHistory],
    settings: Sequence[Mapping[str, Any]],
    doubts: Mapping[str, str],
) -> Tiles:
    """Return the metric over the runs, each at its best epoch: mean, deviation, ends.

    That is the metric that all are judged by; another one need not be the best where that one is.
    """
    metric, chosen = metric_column(histories, RunPlotSpec()), settings[0].get("eval_metric")
    is_chosen = all(one.get("eval_metric") == chosen for one in settings)
    if is_chosen and all(f"eval_{chosen}" in history.epochs for history in histories):
        metric = f"eval_{chosen}"
    else:
        is_chosen = False
    found = {h.label: _at_best(h, metric) for h in histories if metric in h.epochs}
    values = {label: value for label, value in found.items() if value is not None}
    if len(values) < len(histories):
        return Tiles(tiles=[])
    name = title_of(next(p for p in PANELS if p.name == "metric"), metric)
    spread = spread_of(list(values.values()))
    largest, least = (end(values, key=values.__getitem__) for end in (max, min))
    deviation = f"standard deviation {spread.deviation:.3g}, of {spread.count} runs"
    if guesses := sum(GUESS in doubt for doubt in doubts.values()):
        deviation += f"; {guesses} of them {GUESS}"
    of = f"best {name}" if is_chosen else f"{name} at the best epochs"

    def detail(label: str) -> str:
        return ", ".join(filter(None, (label, doubts[label])))

    return Tiles(
        tiles=[
            Tile(name=f"largest {of}", value=f"{values[largest]:.4g}", detail=detail(largest)),
            Tile(name=f"smallest {of}", value=f"{values[least]:.4g}", detail=detail(least)),
            Tile(name=f"mean of the {of}", value=f"{spread.mean:.4g}", detail=deviation),
        ]
    )


def _doubts_of_losses(apart: Sequence[str]) -> list[str]:
    """Say that training losses of other objectives are not to be compared, where they are."""
    found = [as_flag(name) for name in _OF_THE_LOSS if name in apart]
    if not found:
        return []
    verb = "differs" if len(found) == 1 else "differ"
    return [
        f"The runs' training losses are not the same measure, as {', '.join(found)} {verb}: "
        "compare their validation."
    ]


def _figure_table(
    histories: Sequence[RunHistory], apart: Sequence[str], doubts: Mapping[str, str]
) -> Table:
    """Return the best epoch of each run, with the mean and the deviation over them."""
    names = [
        name
        for name in histories[0].epochs
        if name.startswith(("train_loss", "eval_"))
        and all(name in history.epochs for history in histories)
    ]
    rows = [(h.label, h.best_epoch, *(_at_best(h, name) for name in names)) for h in histories]
    means: list[Any] = ["mean", None]
    deviations: list[Any] = ["standard deviation", None]
    for column in zip(*(row[2:] for row in rows), strict=True):
        spread = spread_of(column) if None not in column else None
        means.append(spread and spread.mean)
        deviations.append(spread and spread.deviation)
    if any(doubts.values()):
        rows = [(*row, doubts[history.label]) for row, history in zip(rows, histories, strict=True)]
        means.append(None)
        deviations.append(None)
    others = [as_flag(name) for name in apart if name not in _OF_A_REPEAT]
    unlike = (
        f" The runs differ in {first_few(others, 5)}: mean and deviation are over these settings, "
        "not over repeats of one."
    )
    return Table(
        name="runs",
        title="At each run's best epoch",
        columns=[
            Column(title="run"),
            Column(title="best epoch", is_number=True),
            *map(figure_column, names),
            *[Column(title="remark")] * any(doubts.values()),
        ],
        rows=[*rows, tuple(means), tuple(deviations)],
        caption="The standard deviation is that of one run, with n - 1 below. A figure that a run "
        f"lacks has no mean.{unlike if others else ''}",
    )


def _at_best(history: RunHistory, name: str) -> float | None:
    found = history.epochs[name][history.epochs_done == history.best_epoch]
    return None if not len(found) or np.isnan(found[0]) else float(found[0])


def _names_of_settings(settings: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the names of settings that differ, and of those that all runs share."""
    names = [n for n in dict.fromkeys(chain.from_iterable(settings)) if n not in NAMES_OF_A_RUN]
    apart = [n for n in names if any(one.get(n) != settings[0].get(n) for one in settings)]
    return apart, [name for name in names if name not in apart]


def _settings_tables(
    histories: Sequence[RunHistory],
    settings: Sequence[Mapping[str, Any]],
    apart: Sequence[str],
    shared: Sequence[str],
) -> tuple[Table, Table]:
    differing = Table(
        name="differing-settings",
        columns=[Column(title="setting"), *(Column(title=h.label) for h in histories)],
        rows=[(name, *(as_text(one.get(name)) for one in settings)) for name in apart],
        caption="Empty where it is left to the model or the data." if apart else "None does.",
    )
    values = [(name, settings[0].get(name)) for name in shared]
    same = Table(
        name="settings",
        columns=[Column(title="setting"), Column(title="value")],
        rows=[(name, as_text(value)) for name, value in values if value is not None],
        caption="Those that have a value; the others are left to the model or the data.",
    )
    return differing, same
