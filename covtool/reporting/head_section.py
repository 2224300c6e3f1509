"""The head of an evaluation's page: figures that are read first, and how they came about."""

import math
from collections.abc import Sequence

import covtool
from covtool.data.datasets.found_images import counted
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.evaluation.evaluate import Evaluation
from covtool.pages import Command, Facts, Notes, Section, Tile, Tiles
from covtool.pages.records import Block
from covtool.reporting.doubts import doubts
from covtool.reporting.ranged_figures import Ranged, answered_shares
from covtool.reporting.subjects import Subject
from covtool.specs import Recipe
from covtool.specs.operations import operation_name

INTERVALS = (
    "Ranges hold the true figure with 95 %, as far as these images are a fair sample of those to "
    "come: they are from resampling the images. The calibration error has none, as resampling "
    "makes it larger; nor has a figure that resampling leaves as it is, such as the recall of a "
    "model that gives one answer to all images."
)

_SHARES = {"top_1": "top-1", "top_5": "top-5"}
_MACROS = {
    "macro_precision": "macro precision",
    "macro_recall": "macro recall (balanced accuracy)",
    "macro_f1": "macro F1",
}
"""Figures of `Subject.ranged`, in words."""


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
    done, plain = subject.done, subject.done.result.at_temperature_1
    temperature = done.result.probabilities.temperature
    rows = [
        ("model", subject.model),
        *recipe_rows(done.opened.recipe if done.opened else None),
        ("classes", len(subject.names)),
        ("data", f"{done.data}, {done.split}"),
        ("images", done.result.images),
        ("input", " x ".join(map(str, (done.input.channels, *done.input.size)))),
        ("temperature", _temperature(done)),
        ("with temperature 1", None if temperature == 1 else plain.in_words),
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
    done, found = subject.done, subject.ranged
    tiles = [_share_tile(name, found[key]) for key, name in _SHARES.items() if key in found]
    if done.attacked is not None:
        attacked = answered_shares(done.attacked, done.attacked_answers)["top_1"]
        tiles.append(_share_tile(f"top-1 under {done.attack.title}", attacked))
    tiles += [_share_tile(name, found[key]) for key, name in _MACROS.items()]
    ece = f"{done.result.probabilities.ece:.2f} %"
    tiles.append(Tile(name="calibration error (ECE)", value=ece))
    nll = found["nll"]
    detail = nll.range_in_words(digits=3) if math.isfinite(nll.value) else ""
    tiles.append(Tile(name="negative log-likelihood", value=f"{nll.value:.3f}", detail=detail))
    return tiles


def _share_tile(name: str, figure: Ranged) -> Tile:
    return Tile(name=name, value=f"{figure.value:.2f} %", detail=figure.range_in_words())
