"""The sections of a page about one run."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covtool.data.datasets.found_images import counted
from covtool.errors import CovtoolError
from covtool.figure_names import figure_title, figure_unit
from covtool.pages import (
    Column,
    Command,
    Facts,
    Figure,
    Notes,
    Picture,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Text,
    thumbnails,
)
from covtool.plotting.figure_file import svg_text
from covtool.plotting.half_steps import RESTRAINT, HalfStep, read_half_steps
from covtool.plotting.rri import HALF_STEP_PANELS, HalfStepRun, half_step_figure
from covtool.plotting.run_curves import PANELS, Line, Panel, panel_curves
from covtool.plotting.run_history import RunHistory
from covtool.plotting.runs import run_figure
from covtool.plotting.spectra import spectrum_figure
from covtool.printable import printable
from covtool.run_files import ARGUMENTS, EXPORTED, METRICS, NOTES, notes_in, spectrum_rows
from covtool.specs.augmentation import AugmentationSpec
from covtool.specs.finetuning import command_of
from covtool.specs.plotting import RunPlotSpec

if TYPE_CHECKING:
    from covtool.training.parts.parameter_groups import ParameterGroup

IMAGES_SHOWN = 24
PLAIN_LOSS = "ce"
"""Name of the cross entropy, which is also that of validation."""
_NAMES_SHOWN = 3
SPECTRA_SHOWN = 8
"""Half-steps whose spectra are drawn: more are not told apart."""
NOTES_SHOWN = 30
"""Notes of a run at the head of its page."""
_LONGEST_NOTE = 1_000  # characters
_SPEED = Panel("speed", "images per second", (Line(METRICS, "images_per_s", "", averaged=True),))
_MODELS = ("best", "last")
_DIGITS = {"%": ".2f", "nats": ".4f"}
"""Formats of figures by their unit."""


def image_section(run: Path, settings: Mapping[str, Any]) -> Section:
    """Return the first images of a run as the network saw them; a note where they are gone."""
    from PIL import Image

    from covtool.training.start.resume import had_other_pixels
    from covtool.training.start.revisiting import first_images, request_of_run

    name, title = "images", "Training images as the network saw them"
    try:
        first = first_images(run, at_most=IMAGES_SHOWN)
    except (CovtoolError, OSError) as problem:
        return Section(name=name, title=title, blocks=[_missing("The images", problem)])
    arrays = first.pixels.permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(a[..., 0] if a.shape[2] == 1 else a[..., :3]) for a in arrays]
    groups = [
        PictureGroup(pictures=[Picture(thumbnail=small, lines=[class_], about=str(path))])
        for small, class_, path in zip(
            thumbnails(pictures), first.classes, first.paths, strict=True
        )
    ]
    notes = []
    if settings.get("mixup") or settings.get("cutmix"):
        notes.append("Two images are mixed after this (--mixup, --cutmix), which is not shown.")
    if settings.get("cache", "off") != "off":
        notes.append(
            "The run read its images from a cache (--cache), these are made from the files: pixels "
            "may be rounded otherwise."
        )
    request = request_of_run(run)
    if had_other_pixels(settings, request):
        notes.append(
            "The run was begun by a version that resized images with Pillow: its pixels were "
            "rounded otherwise."
        )
    if arrays.shape[3] > 3:
        notes.append(f"Three of the {arrays.shape[3]} channels are shown.")
    if first.replaced:
        notes.append(f"{first.replaced} could not be read, and others took their places.")
    caption = (
        f"The first {len(groups)} images of the first batch of epoch 1, with --seed "
        f"{settings.get('seed')}: {variation_in_words(request.augmentation)}, before they are "
        "normalized."
    )
    return Section(
        name=name,
        title=title,
        blocks=[Notes(sentences=notes), Pictures(groups=groups, caption=caption)],
    )


def variation_in_words(augmentation: AugmentationSpec) -> str:
    """Say what a run does to its training images."""
    if not augmentation.aug:
        return "prepared as for evaluation, as in the run (--no-aug)"
    done = ["cut"]
    if augmentation.hflip or augmentation.vflip:
        done.append("mirrored")
    if augmentation.aa:
        done.append(f"varied by --aa {augmentation.aa}")
    elif augmentation.color_jitter > 0:
        done.append("colored")
    if augmentation.reprob > 0:
        done.append("erased in part")
    *first, last = done
    return f"{' and '.join(filter(None, [', '.join(first), last]))} at random as in the run"


def half_step_section(run: Path) -> Section | None:
    """Return SVDNet's half-steps and the spectra of W; None for a run without phases."""
    try:
        steps = read_half_steps(run)
    except CovtoolError:
        return None
    drawn = HalfStepRun(label=run.name, path=run, half_steps=steps)
    figure = half_step_figure([drawn], list(HALF_STEP_PANELS))
    blocks: list[Any] = [
        Figure(
            name="half-steps",
            svg=svg_text(figure, title="Half-steps"),
            title="S(W) and retrieval after each half-step",
        ),
        _half_step_table(steps),
    ]
    try:
        by_step = _spectra_by_step(run)
        spectra = by_step or _spectra_of_models(run)
    except (CovtoolError, OSError) as problem:
        blocks.append(_missing("The spectra of W", problem))
    else:
        names = list(spectra)
        if len(names) > SPECTRA_SHOWN:
            names = [name for name in names if not name.startswith(RESTRAINT)]
        shown = _spread(names, at_most=SPECTRA_SHOWN)
        figure = spectrum_figure({name: spectra[name] for name in shown})
        others = f" {len(shown)} of {len(spectra)} are drawn." if len(shown) < len(spectra) else ""
        unknown = len({step.phase for step in steps} - spectra.keys()) if by_step else 0
        if unknown:
            others += f" Of {counted(unknown, 'half-step')} they were not kept."
        title = "Singular values of the Eigenlayer's weight"
        blocks.append(
            Figure(
                name="spectra",
                svg=svg_text(figure, title="Spectra of W"),
                title=f"{title} after each half-step" if by_step else title,
                caption="All are equal where the weight vectors are orthogonal and of one length. "
                "A restraint, dashed, leaves them as they are: W = U S V' becomes U S. Lines of "
                f"one course cover each other.{others}",
            )
        )
    return Section(name="half-steps", title="Restraint and relaxation", blocks=blocks)


def _half_step_table(steps: Sequence[HalfStep]) -> Table:
    return Table(
        name="half-steps",
        columns=[
            Column(title="phase"),
            Column(title="epochs", is_number=True),
            Column(title="S(W)", format=".4f", is_number=True),
            Column(title=figure_title("rank1"), format=".2f", is_number=True),
            Column(title=figure_title("mAP"), format=".2f", is_number=True),
        ],
        rows=[
            (s.phase, s.epochs, s.correlation, s.rank_1, s.mean_average_precision) for s in steps
        ],
    )


def _spectra_by_step(run: Path) -> dict[str, np.ndarray]:
    """Return the singular values of W after each half-step; none in a run of an older version."""
    try:
        rows = list(spectrum_rows(run))
    except FileNotFoundError:
        return {}
    return {row.phase: np.array(row.values) for row in rows}


def _spread(names: Sequence[str], *, at_most: int) -> list[str]:
    """Return the first, the last, and those between in even steps."""
    places = np.linspace(0, len(names) - 1, min(at_most, len(names))).round()
    return [names[int(place)] for place in places]


def _spectra_of_models(run: Path) -> dict[str, np.ndarray]:
    """Return the singular values of the Eigenlayer's weight in the exported models."""
    import torch

    from covtool.checkpoints.model_file import load
    from covtool.surgery.eigenlayer import eigen_classifier

    found = {}
    for name in _MODELS:
        model = load(run / EXPORTED / f"{name}.safetensors")
        weight = eigen_classifier(model).eigenlayer.weight.detach().double()
        found[f"{name} epoch"] = torch.linalg.svdvals(weight.flatten(1)).numpy()
    return found


def group_section(run: Path, groups: "Sequence[ParameterGroup] | None") -> Section:
    """Return the table of parameter groups, planned again where they are not given."""
    name, title = "groups", "Parameter groups"
    try:
        if groups is None:
            from covtool.training.start.revisiting import parameter_groups_of

            groups = parameter_groups_of(run)
    except (CovtoolError, OSError) as problem:
        return Section(name=name, title=title, blocks=[_missing("The groups", problem)])
    rows = [
        (g.part, len(g.names), g.num_parameters, g.lr, g.weight_decay, _some(g.names))
        for g in groups
    ]
    table = Table(
        name="parameter-groups",
        columns=[
            Column(title="part"),
            Column(title="tensors", format=",d", is_number=True),
            Column(title="parameters", format=",d", is_number=True),
            Column(title="learning rate", format=".4g", is_number=True),
            Column(title="weight decay", format=".4g", is_number=True),
            Column(title="names"),
        ],
        rows=rows,
        caption="The learning rate at the top of the schedule. What is frozen for a part of the "
        "run is listed, what is never trained is not.",
    )
    return Section(name=name, title=title, blocks=[table])


def setting_section(
    run: Path, settings: Mapping[str, Any], environment: Mapping[str, Any]
) -> Section:
    """Return what is needed to do the run again: the command, all settings, the environment."""
    command = f"covtool {command_of(dict(settings))} --config {shlex.quote(str(run / ARGUMENTS))}"
    return Section(
        name="settings",
        title="How to repeat it",
        blocks=[
            Command(text=command),
            Text(paragraphs=["The file holds every setting, the seed among them."]),
            Facts(rows=[(name, as_text(value)) for name, value in environment.items()]),
            Table(
                name="settings",
                title="Settings",
                columns=[Column(title="setting"), Column(title="value")],
                rows=[
                    (name, as_text(value)) for name, value in settings.items() if value is not None
                ],
                caption="Those that have a value; the others are left to the model or the data.",
            ),
        ],
    )


def loss_caption(settings: Mapping[str, Any], *, validated: bool) -> str:
    """Say what the training loss is, and has that the validation loss has not.

    Args:
        settings: Settings of the run.
        validated: Whether there is a validation loss; a run that is judged by a search has none.
    """
    apart = []
    if (loss := settings.get("loss") or PLAIN_LOSS) != PLAIN_LOSS:
        apart.append(f"it is --loss {loss}")
    if smoothing := settings.get("smoothing"):
        apart.append(f"labels are smoothed by {smoothing:g}")
    mixed = [f"--{name} {settings[name]:g}" for name in ("mixup", "cutmix") if settings.get(name)]
    if mixed:
        apart.append(f"images are mixed ({', '.join(mixed)})")
    if settings.get("aug"):
        apart.append("images are varied at random")
    apart.append("it is measured in training mode, while the weights change")
    if not validated:
        return f"A ring marks the best epoch. The loss is that of training: {'; '.join(apart)}."
    return (
        "A ring marks the best epoch. Training and validation loss are not the same measure. Of "
        f"training: {'; '.join(apart)}. Of validation: cross entropy of whole images in evaluation "
        "mode."
    )


def curve_figure(histories: Sequence[RunHistory], spec: RunPlotSpec) -> Any:
    """Return the curves of runs as a matplotlib figure, the speed among them."""
    panels = {panel: panel_curves(panel, histories, spec) for panel in (*PANELS, _SPEED)}
    return run_figure(histories, {p: found for p, found in panels.items() if found}, spec)


def curves(figure: Any, caption: str) -> Figure:
    """Return the figure of curves as a block."""
    return Figure(
        name="curves",
        svg=svg_text(figure, title="Curves"),
        title="Loss, metric, learning rate, gradient and speed over the epochs",
        caption=caption,
    )


def figure_column(name: str) -> Column:
    """Return the column of a figure: the file names it as summary.csv does, the page in words."""
    return Column(
        title=name,
        heading=figure_title(name),
        format=_DIGITS.get(figure_unit(name), ".4g"),
        is_number=True,
    )


def as_text(value: Any) -> str | int | float | None:
    """Return a setting as a cell."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def shown_notes(folders: Sequence[Path]) -> list[str]:
    """Return the notes in folders of runs, as many as a page shows.

    Raises:
        DataError: The notes of one are damaged.
    """
    notes = [
        f"{folder.name}: {text}" if len(folders) > 1 else text
        for folder in folders
        for text in notes_in(folder)
    ]
    shown = [printable(text, longest=_LONGEST_NOTE) for text in notes[:NOTES_SHOWN]]
    rest = len(notes) - len(shown)
    if rest:
        shown.append(f"There are {rest:,} more notes: {NOTES} has all of them.")
    return shown


def missing(what: str, problem: Exception) -> str:
    """Return the sentence about what cannot be shown, and why."""
    reason = str(problem).replace("\n", " ")
    return f"{what} cannot be shown. {reason}"


def _missing(what: str, problem: Exception) -> Notes:
    return Notes(sentences=[missing(what, problem)])
