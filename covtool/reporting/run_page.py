"""A page about one training run, or about several side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from covtool.differences.runs import ENVIRONMENT, LARGEST_ENVIRONMENT
from covtool.documents import parse_json
from covtool.errors import ArgumentError, CovtoolError, DataError
from covtool.pages import (
    Column,
    Command,
    Notes,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    require_page_folder,
    write_page,
)
from covtool.plotting.figure_file import house_style
from covtool.plotting.run_curves import PANELS, metric_column, title_of
from covtool.plotting.run_history import RunHistory, read_runs
from covtool.plotting.runs import notes_on_runs
from covtool.regular_files import read_text
from covtool.reporting.run_evaluation import Evaluated, EvaluationParts, parts_of
from covtool.reporting.run_sections import (
    curve_figure,
    curves,
    figure_column,
    group_section,
    half_step_section,
    image_section,
    loss_caption,
    missing,
    setting_section,
    shown_notes,
)
from covtool.reporting.several_runs import page_of_several
from covtool.run_files import (
    ARGUMENTS,
    RESULT,
    read_settings,
    runs_of,
)
from covtool.run_files.finals import EARLY, GUESS, LARGEST_RESULT
from covtool.specs.plotting import RunPlotSpec

if TYPE_CHECKING:
    from covtool.training.parts.parameter_groups import ParameterGroup

FOLDER = "report"
"""Name of the page's folder, in that of its run."""

_MOST_RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReportResult:
    """A page that was written.

    Attributes:
        path: Its ``index.html``.
        runs: Folders of the runs that it is about.
        notes: What is not on it, and why.
    """

    path: Path
    runs: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def report_runs(
    runs: Sequence[str | Path],
    folder: str | Path | None = None,
    *,
    groups: "Sequence[ParameterGroup] | None" = None,
    evaluator: Callable[[Path], Evaluated] | None = None,
    overwrite: bool = False,
) -> RunReportResult:
    """Write a page about one run or several, finished or not.

    Args:
        runs: Folders of runs; one of several, as ``--seeds`` makes it, stands for those in it.
        folder: Folder to make; None for ``report`` in that of the run, or of the several runs.
        groups: Parameter groups of a single run, where they are known; None to plan them again.
        evaluator: What evaluates the best model of a single run, such as `evaluated_run`: the page
            ends with the evaluation's. An error of covtool's from it is told on the page and in the
            notes. None for the page of the training alone, which takes seconds.
        overwrite: Whether to replace a page that is there. One in its own run's folder always is.

    Raises:
        ArgumentError: No run is given, one is given twice, several have no folder for the page or
            are to be evaluated, it cannot be made, or a package is missing.
        DataError: A folder is not a run, has no update yet, or holds a damaged file.
        OutputExistsError: There is such a page, and `overwrite` is False.
        SaveError: The system refuses to write.
    """
    given = [Path(run) for run in runs]
    if folder is None:
        if len(given) != 1:
            raise ArgumentError(
                f"{len(given)} runs have no folder of their own for a page.",
                hint="Name one: -o DIR.",
            )
        folder, overwrite = given[0] / FOLDER, True
    found = runs_of(given)
    _require_apart(found)
    if len(found) > _MOST_RUNS:
        raise ArgumentError(f"{len(found)} runs are more than the {_MOST_RUNS} that a page shows.")
    if evaluator is not None and len(found) > 1:
        raise ArgumentError(
            "One run is evaluated on its page, not several.",
            hint="Leave out --evaluate; covtool report RUN does it for each.",
        )
    histories = read_runs(found)  # first: a typing mistake in a run's name is told as that
    require_page_folder(folder, overwrite=overwrite)
    evaluated, notes = _evaluated(found[0], evaluator)
    with house_style():
        page = (
            _page_of_one(histories[0], groups, evaluated, notes)
            if len(found) == 1
            else page_of_several(
                histories, [_json_of(run, RESULT) for run in found], shown_notes(given)
            )
        )
    path = write_page(folder, page, overwrite=overwrite)
    return RunReportResult(path=path, runs=tuple(found), notes=notes)


def _require_apart(runs: Sequence[Path]) -> None:
    """Refuse a run that is named twice: it would count as two in every mean."""
    places = [run.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise ArgumentError(f"The run {run} is named twice.", hint="Name it once.")


def _evaluated(
    run: Path, evaluator: Callable[[Path], Evaluated] | None
) -> tuple[Evaluated | None, tuple[str, ...]]:
    """Return the evaluation of a run, or why there is none."""
    if evaluator is None:
        return None, ()
    try:
        return evaluator(run), ()
    except (CovtoolError, OSError) as problem:
        return None, (missing("The evaluation", problem),)


def _page_of_one(
    history: RunHistory,
    groups: "Sequence[ParameterGroup] | None",
    evaluated: Evaluated | None,
    missed: Sequence[str],
) -> Page:
    parts = None if evaluated is None else parts_of(evaluated)
    run, spec = history.path, RunPlotSpec()
    settings, notes = read_settings(run / ARGUMENTS), list(notes_on_runs([history], spec))
    result, environment = _json_of(run, RESULT), _json_of(run, ENVIRONMENT)
    notes = [*shown_notes([run]), *notes]
    if not result:
        notes.insert(0, f"The run is not complete: it has no {RESULT}.")
    sections = [
        Section(
            name="curves",
            title="Curves",
            blocks=[
                curves(
                    curve_figure([history], spec),
                    loss_caption(settings, validated="eval_loss" in history.epochs),
                ),
                *_epoch_table(history),
            ],
        ),
        half_step_section(run),
        image_section(run, settings),
        group_section(run, groups),
        setting_section(run, settings, environment),
        _evaluation_section(run, settings, parts, missed),
        *([] if parts is None else parts.sections),
    ]
    return Page(
        title=f"Run {history.label}",
        subtitle=str(run),
        head=[_tiles(history, result, settings), Notes(sentences=notes)],
        sections=[section for section in sections if section is not None],
        files={} if parts is None else parts.files,
    )


def _tiles(history: RunHistory, result: Mapping[str, Any], settings: Mapping[str, Any]) -> Tiles:
    metric = metric_column([history], RunPlotSpec())
    chosen = f"eval_{settings.get('eval_metric')}"
    metric = chosen if chosen in history.epochs else metric
    values = history.epochs.get(metric, np.array([]))
    name = title_of(next(p for p in PANELS if p.name == "metric"), metric)
    tiles = []
    if history.best_epoch is not None:
        best = values[history.epochs_done == history.best_epoch]
        detail = f"epoch {history.best_epoch}"
        if result.get("is_chance") is True:
            detail += f", {GUESS}"
        tiles.append(Tile(name=f"best {name}", value=f"{best[0]:.4g}", detail=detail))
    known = np.flatnonzero(~np.isnan(values))
    if len(known):
        detail = f"epoch {int(history.epochs_done[known[-1]])}"
        tiles.append(Tile(name=f"last {name}", value=f"{values[known[-1]]:.4g}", detail=detail))
    done = f"{int(history.steps_in_epochs[-1])} of {settings.get('epochs')}"
    early = f"{EARLY}, " if result.get("stopped_early") is True else ""
    updates = f"{early}{len(history.updates):,} updates"
    tiles.append(Tile(name="epochs", value=done, detail=updates))
    if isinstance(seconds := result.get("seconds"), int | float):
        tiles.append(Tile(name="time", value=_duration(seconds), detail="with evaluation"))
    speed = history.steps.get("images_per_s", np.array([np.nan]))
    if (~np.isnan(speed)).any():
        median = f"{np.nanmedian(speed):.3g}"
        tiles.append(Tile(name="images per second", value=median, detail="median over updates"))
    if isinstance(memory := result.get("peak_memory_mib"), int | float):
        detail = "of the main process"
        tiles.append(Tile(name="peak memory", value=f"{memory:,.0f} MiB", detail=detail))
    return Tiles(tiles=tiles)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _epoch_table(history: RunHistory) -> list[Table]:
    names = [name for name in history.epochs if name != "epoch"]
    if not len(history.epochs_done):
        return []
    columns = [figure_column(name) for name in names]
    number = [int(done) for done in history.epochs_done]
    values = [history.epochs[name] for name in names]
    return [
        Table(
            name="epochs",
            columns=[Column(title="epoch", is_number=True), *columns],
            rows=[
                (epoch, *(None if np.isnan(v[row]) else float(v[row]) for v in values))
                for row, epoch in enumerate(number)
            ],
            caption="Epochs count from 1; epoch 0 is the model as it came. The learning rate is "
            "that at the end of the epoch.",
        )
    ]


def _evaluation_section(
    run: Path, settings: Mapping[str, Any], parts: EvaluationParts | None, missed: Sequence[str]
) -> Section:
    """Return the head of the evaluation, or the commands that make one."""
    name, title = "evaluation", "How good, where wrong"
    if parts is not None:
        return Section(name=name, title=title, blocks=[Text(paragraphs=[parts.words]), *parts.head])
    data, page = str(settings.get("data") or "DIR"), str(run / "evaluation")
    commands = (
        f"covtool report {quote(str(run))}\n"
        f"covtool evaluate {quote(str(run))} --data {quote(data)} --report {quote(page)}"
    )
    return Section(name=name, title=title, blocks=[Notes(sentences=missed), Command(text=commands)])


def _json_of(run: Path, name: str) -> dict[str, Any]:
    """Return what a file of a run holds; nothing where there is none yet.

    Raises:
        DataError: It is damaged.
    """
    at_most = {RESULT: LARGEST_RESULT, ENVIRONMENT: LARGEST_ENVIRONMENT}[name]
    try:
        values = parse_json(read_text(run / name, at_most=at_most))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise DataError(f"{run / name} cannot be read.", reason=str(problem)) from problem
    if not isinstance(values, dict):
        raise DataError(f"{run / name} cannot be read.", reason="It holds no names and values.")
    return values
