"""Differences between the final figures of two groups of runs, with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.data.datasets.found_images import counted
from covtool.differences.recipes import FieldDifference, differing
from covtool.differences.runs import NAMES_OF_A_RUN, images_of, plain_value
from covtool.errors import ArgumentError
from covtool.figure_names import figure_name
from covtool.ops.t_intervals import (
    CONFIDENCE,
    Interval,
    Spread,
    paired_interval,
    spread_of,
    unpaired_interval,
)
from covtool.run_files import (
    ARGUMENTS,
    IMAGE_LIST,
    FinalFigures,
    final_figures,
    notes_on_doubts,
    read_settings,
    runs_to_compare,
)

OF_A_REPEAT = (*NAMES_OF_A_RUN, "seed", "seeds", "fold")
"""Settings in which the runs of one group may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureDifference:
    """A figure of two groups of runs.

    Attributes:
        figure: Name: ``best_`` or ``last_`` with a column of summary.csv.
        runs: Mean and standard deviation over the runs.
        against: Those over the runs that they are compared with.
        interval: Difference of the means, the first minus the second, and its interval.
    """

    figure: str
    runs: Spread
    against: Spread
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedDifference:
    """Differences between two groups of runs.

    Attributes:
        runs: Folders of the runs, in the order of pairs where there are any.
        against: Folders of the others.
        paired: Whether each run has a counterpart of the same seed and fold.
        confidence: Share of intervals, over many studies, that hold the true difference.
        figures: Final figures that all runs have.
        settings: Settings that differ between the groups; a list where they differ within one.
        notes: What should be known about the figures and intervals, in sentences.
        guesses: Those of all these folders whose best epoch is no better than a guess.
        stopped_early: Those that ended before their last epoch.
    """

    runs: tuple[Path, ...]
    against: tuple[Path, ...]
    paired: bool
    confidence: float
    figures: tuple[FigureDifference, ...]
    settings: tuple[FieldDifference, ...]
    notes: tuple[str, ...]
    guesses: tuple[Path, ...] = ()
    stopped_early: tuple[Path, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether any figure does."""
        return any(one.interval.difference != 0 for one in self.figures)


def compare_repeats(runs: Sequence[str], against: Sequence[str]) -> RepeatedDifference:
    """Compare the final figures of runs with those of others.

    Runs of the same seed and fold are pairs where both groups have the same ones, each once: what
    a pair has in common drops out of its difference. Else the groups are compared as independent.

    Args:
        runs: Folders of runs that are complete; one of several stands for those in it.
        against: Folders of the others.

    Raises:
        ArgumentError: A folder is not a run, or is in both groups; settings cannot be read.
        DataError: A run is not complete, a file of it is damaged, or they share no figure.
    """
    sides = [_figures(runs_to_compare(side)) for side in (runs, against)]
    _require_apart(sides)
    keys = [[(one.seed, one.fold, one.folds) for one in side] for side in sides]
    why_not = _why_not_paired(*keys)
    if why_not is None:
        place = {key: at for at, key in enumerate(keys[1])}
        sides[1] = [sides[1][place[key]] for key in keys[0]]
    paired, measure = why_not is None, unpaired_interval if why_not else paired_interval
    shared = [n for n in sides[0][0].figures if all(n in one.figures for s in sides for one in s)]
    if not shared:
        raise ArgumentError(
            "The runs have no final figure in common.",
            reason="Some are judged by a search, and others are not.",
        )
    found = []
    for name in shared:
        first, second = ([one.figures[name] for one in side] for side in sides)
        found.append(
            FigureDifference(
                figure=name,
                runs=spread_of(first),
                against=spread_of(second),
                interval=measure(first, second),
            )
        )
    folders = [tuple(one.run for one in side) for side in sides]
    return RepeatedDifference(
        runs=folders[0],
        against=folders[1],
        paired=paired,
        confidence=CONFIDENCE,
        figures=tuple(found),
        settings=tuple(differing("", *map(_settings, folders))),
        notes=tuple(_notes(sides, why_not)),
        guesses=tuple(one.run for side in sides for one in side if one.is_chance),
        stopped_early=tuple(one.run for side in sides for one in side if one.stopped_early),
    )


def _figures(runs: Sequence[Path]) -> list[FinalFigures]:
    return [final_figures(run) for run in runs]


def _require_apart(sides: Sequence[Sequence[FinalFigures]]) -> None:
    """Refuse a run that is named twice: it would count as two."""
    seen: set[Path] = set()
    for run in (one.run for side in sides for one in side):
        if run.resolve() in seen:
            raise ArgumentError(f"The run {run} is named twice.", hint="Name it once, on one side.")
        seen.add(run.resolve())


def _why_not_paired(first: Sequence[Any], second: Sequence[Any]) -> str | None:
    """Return why runs are not compared in pairs; None where they are."""
    if any(key[0] is None for key in (*first, *second)):
        return "a run does not say its seed"
    if len(set(first)) < len(first) or len(set(second)) < len(second):
        return "runs on one side have the same seed and fold"
    if set(first) != set(second):
        return "the two sides have other seeds or folds"
    return None


def _settings(runs: Sequence[Path]) -> dict[str, Any]:
    """Return the settings of a group; a list of values where its runs differ."""
    every = [read_settings(run / ARGUMENTS) for run in runs]
    found = {}
    for name in dict.fromkeys(name for one in every for name in one):
        if name in OF_A_REPEAT:
            continue
        values = [plain_value(one.get(name)) for one in every]
        found[name] = values[0] if all(value == values[0] for value in values) else values
    return found


def _notes(sides: Sequence[Sequence[FinalFigures]], why_not: str | None) -> list[str]:
    notes = []
    if why_not is not None:
        notes.append(
            f"The runs are compared as independent groups, not in pairs: {why_not}. Pairs of the "
            "same seeds and folds show smaller differences."
        )
    else:
        notes += _on_images(sides)
    if min(map(len, sides)) == 1:
        notes.append("One run on a side says nothing about its spread: there are no intervals.")
    elif any(one.fold for side in sides for one in side):
        notes.append(
            "Runs on several folds share most of their training images, so that their intervals "
            "are narrower than those of independent runs would be."
        )
    metrics = {one.metric for side in sides for one in side}
    if len(metrics) > 1:
        words = " and ".join(sorted(map(figure_name, metrics)))
        notes.append(
            f"The best epochs are best in different metrics, {words}: compare the last ones."
        )
    for side in sides:
        notes += notes_on_doubts(
            len(side),
            guesses=[one.run for one in side if one.is_chance],
            early=[one.run for one in side if one.stopped_early],
        )
    return notes


def _on_images(sides: Sequence[Sequence[FinalFigures]]) -> Iterator[str]:
    """Yield notes on pairs whose runs had other images, or do not say which they had."""
    pairs = [[images_of(one.run) for one in pair] for pair in zip(*sides, strict=True)]
    known = [pair for pair in pairs if None not in pair]
    if any(len(set(pair)) > 1 for pair in known):
        yield (
            "Pairs have the same seed and fold, but some were not started with the same images: "
            "what differs may be the data."
        )
    if unknown := len(pairs) - len(known):
        yield (
            f"In {unknown:,} of {counted(len(pairs), 'pair')} a run has no {IMAGE_LIST}: whether "
            "both had the same images is not known."
        )
