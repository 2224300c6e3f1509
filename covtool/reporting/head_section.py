"""The head of an evaluation's page: figures that are read first, and how they came about."""

import math
from collections.abc import Sequence

import torch

import covtool
from covtool.data.datasets.found_images import counted
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.evaluation.evaluate import Evaluation
from covtool.ops.class_figures import macro_figures
from covtool.ops.resampling import FEWEST_UNITS, Intervals, mean_intervals
from covtool.pages import Command, Facts, Notes, Section, Tile, Tiles
from covtool.pages.records import Block
from covtool.reporting.doubts import doubts
from covtool.reporting.subjects import Subject
from covtool.specs import Recipe
from covtool.specs.operations import operation_name

INTERVALS = (
    "Ranges hold the true figure with 95 %, as far as these images are a fair sample of those to "
    "come: they are from resampling the images. The calibration error has none, as resampling "
    "makes it larger; nor has a figure that resampling leaves as it is, such as the recall of a "
    "model that gives one answer to all images."
)

TOO_FEW = "too few images for a range"


def head_blocks(subject: Subject, added: Sequence[Tile] = ()) -> list[Block]:
    """Return the head line, and what must not be missed.

    Args:
        subject: The evaluation.
        added: Tiles behind its own.
    """
    return [Tiles(tiles=[*_tiles(subject), *added]), Notes(sentences=doubts(subject.done))]


def how_section(subject: Subject, other: str | None = None) -> Section:
    """Return what was measured, with what, and how to repeat it.

    Args:
        subject: The evaluation.
        other: The model that it is compared with; None without one.
    """
    done = subject.done
    rows = [
        ("model", subject.model),
        *recipe_rows(done.opened.recipe if done.opened else None),
        ("classes", len(subject.names)),
        ("data", f"{done.data}, {done.split}"),
        ("images", done.result.images),
        ("input", " x ".join(map(str, (done.input.channels, *done.input.size)))),
        ("temperature", _temperature(done)),
        ("against", other),
        ("attack", done.attack.title if done.attack else None),
        ("device", done.device),
        ("seconds", f"{done.seconds:.1f}"),
        ("covtool", covtool.__version__),
    ]
    command = [Command(text=subject.command)] if subject.command else []
    return Section(name="how", title="How it was measured", blocks=[Facts(rows=rows), *command])


def _temperature(done: Evaluation) -> str:
    """Return the number that logits were divided by, and what it rests on."""
    number = f"{done.result.probabilities.temperature:.4g}"
    scores = done.opened.recipe.scores if done.opened else None
    if scores is None:
        return number
    chosen = f"{number}, chosen on {counted(scores.images, 'image')} of {scores.data}"
    doubt = note_on_chosen(scores)
    return chosen if doubt is None else f"{chosen}. {doubt}"


def recipe_rows(recipe: Recipe | None) -> list[tuple[str, str]]:
    """Return what a model is made of: none without its recipe."""
    if recipe is None:
        return []
    operations = ", ".join(map(operation_name, recipe.operations))
    return [
        ("architecture", f"{recipe.base.library}: {recipe.base.name}"),
        ("operations", operations or "none"),
    ]


def _tiles(subject: Subject) -> list[Tile]:
    done, answers = subject.done, subject.answers
    result = done.result
    shares = torch.stack([answers.right == answers.given, answers.rank < 5]).double()
    top = mean_intervals(shares)
    macro = macro_figures(answers.right, answers.given, len(subject.names))
    nll = mean_intervals(answers.loss, bounds=None) if answers.loss.isfinite().all() else None
    tiles = [Tile(name="top-1", value=f"{result.top_1:.2f} %", detail=range_of(top, 0))]
    if result.top_5 is not None:
        tiles.append(Tile(name="top-5", value=f"{result.top_5:.2f} %", detail=range_of(top, 1)))
    if done.attacked is not None:
        tiles.append(_attacked_tile(subject))
    macros = {
        "macro precision": macro.precision,
        "macro recall (balanced accuracy)": macro.recall,
        "macro F1": macro.f1,
    }
    for name, (value, low, high) in macros.items():
        detail = _ends(100 * low, 100 * high, len(answers))
        tiles.append(Tile(name=name, value=f"{100 * value:.2f} %", detail=detail))
    tiles.append(Tile(name="calibration error (ECE)", value=f"{result.probabilities.ece:.2f} %"))
    detail = "" if nll is None else _ends(float(nll.low), float(nll.high), nll.units, digits=3)
    return [
        *tiles,
        Tile(
            name="negative log-likelihood", value=f"{result.probabilities.nll:.3f}", detail=detail
        ),
    ]


def _attacked_tile(subject: Subject) -> Tile:
    done = subject.done
    attacked = done.attacked_answers
    found = mean_intervals((attacked.right == attacked.given).double()[None])
    return Tile(
        name=f"top-1 under {done.attack.title}",
        value=f"{done.attacked.top_1:.2f} %",
        detail=range_of(found, 0),
    )


def range_of(found: Intervals, row: int, *, too_few: str = TOO_FEW) -> str:
    """Return the range of a share in percent, or why there is none."""
    low, high = (100 * float(ends[row]) for ends in (found.low, found.high))
    return _ends(low, high, found.units, too_few=too_few)


def _ends(low: float, high: float, units: int, *, digits: int = 2, too_few: str = TOO_FEW) -> str:
    if math.isnan(low) or math.isnan(high):
        return too_few if units < FEWEST_UNITS else "no range: resampling leaves it as it is"
    return f"{low:.{digits}f} to {high:.{digits}f}"
