"""The sections of a model card, each from one part of a recipe."""

from collections.abc import Iterable
from dataclasses import dataclass

from covtool.backbones.source_weights import SourceWeights
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.figure_names import NAMES, figure_name
from covtool.printable import first_few
from covtool.sharing.markdown import code
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    Operation,
    Recipe,
)
from covtool.specs.provenance import phrase

MOST_CLASSES_SHOWN = 100
MOST_STEPS_SHOWN = 50
LONGEST_STEP = 1_000
"""Characters of a step that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Where the model is that a card is about, and what opens it.

    Attributes:
        repo: Repository on the hub that the card is for, ``ORG/NAME``; None for a file.
        file: Name of the model's file, where there is no repository.
        with_timm: Whether timm alone opens it.
        is_own: Whether the file is covtool's.
        is_timm_folder: Whether it is a folder of timm's, without the recipe.
    """

    repo: str | None = None
    file: str = "model.safetensors"
    with_timm: bool = False
    is_own: bool = True
    is_timm_folder: bool = False


_CHANNELS = {1: "gray", 3: "RGB"}


def introduction(recipe: Recipe) -> str:
    """Return what the model is: its architecture, and what was done to it."""
    base = f"{recipe.base.library}'s {code(recipe.base.name)}"
    arguments = f" ({_arguments(recipe)})" if recipe.base.arguments else ""
    what = "An image network" if _is_random(recipe) else "An image classifier"
    done = "; ".join(map(_operation, recipe.operations))
    parts = f" Changed: {done}." if done else ""
    return (
        f"{what} with {recipe.num_classes:,} classes: {base}{arguments}.{parts} This card was "
        "written by covtool from the model's recipe, which version "
        f"{code(recipe.provenance.covtool_version)} made.\n"
    )


def untrained_section(recipe: Recipe) -> str:
    """Return a warning about what is random; nothing where all is trained."""
    untrained = recipe.provenance.untrained
    if not untrained:
        return ""
    what = "All weights are random" if "network" in untrained else "The classifier is random"
    return _section(
        "Not trained",
        f"{what}: **what it answers means nothing.** "
        + ("" if "network" in untrained else "Its features can be used (`covtool embed`). ")
        + "Train it with `covtool finetune` first.\n",
    )


def history_section(recipe: Recipe, assumptions: Iterable[str]) -> str:
    """Return where the model comes from, step by step, and what was assumed about its source."""
    made = recipe.provenance
    source = code(made.source) if made.source else "an unknown source"
    checksum = f" (SHA-256 {code(made.source_sha256)})" if made.source_sha256 else ""
    lines = [f"It began with {source}{checksum}.\n"]
    steps = made.steps[-MOST_STEPS_SHOWN:]
    left_out = len(made.steps) - len(steps)
    if left_out:
        lines.append(f"The first {left_out:,} of {len(made.steps):,} steps are not shown.\n")
    lines += [f"{n}. {code(phrase(step), longest=LONGEST_STEP)}" for n, step in _from_one(steps)]
    lines += ["No step is recorded."] if not made.steps else []
    lines.append("")
    data = f"Trained or calibrated on: {code(made.data)}.\n" if made.data else ""
    lines += [data] if data else ["On which data it was trained is not recorded.\n"]
    assumed = [f"- {code(text, longest=LONGEST_STEP)}" for text in assumptions]
    lines += ["Assumed, as nothing states it, or to be noted:\n", *assumed, ""] if assumed else []
    return _section("What was done", "\n".join(lines))


def figures_section(recipe: Recipe) -> str:
    """Return the figures, each with its data and its number of images."""
    metrics = recipe.provenance.metrics
    if not metrics:
        return _section("Figures", "None are recorded.\n")
    lines = [
        f"- {_figure(m.name)}: **{m.value:.4g}** on {code(m.data)}, {m.images:,} images"
        for m in metrics
    ]
    return _section("Figures", "\n".join(["Shares are in percent.\n", *lines, ""]))


def _figure(name: str) -> str:
    """Return words for a figure that is known; other names come from a file, and stand as code."""
    return figure_name(name) if name in NAMES else code(name)


def classes_section(recipe: Recipe) -> str:
    """Return the names of the outputs, the first ones where there are many."""
    if recipe.class_names is None:
        text = f"The names of the {recipe.num_classes:,} outputs are not known.\n"
    else:
        text = f"In the order of the outputs: {_few(recipe.class_names)}.\n"
    return _section("Classes", text)


def images_section(recipe: Recipe) -> str:
    """Return the images that the model takes."""
    images = recipe.input
    height, width = images.size
    kind = _CHANNELS.get(images.channels, f"{images.channels}-channel")
    lines = [
        f"- {kind} images of {height}x{width} (height x width), values in [0, 1]",
        f"- mean {_numbers(images.mean)}, standard deviation {_numbers(images.std)}",
        f"- {images.interpolation} resampling, crop {images.crop_mode} of {images.crop_pct:g}",
        f"- turned as their EXIF data say: {'yes' if images.exif else 'no'}",
    ]
    return _section("Images", "\n".join([*lines, ""]))


def score_section(recipe: Recipe, *, is_timm_folder: bool) -> str:
    """Return how outputs become probabilities, and which embeddings the file keeps."""
    lines = []
    if recipe.scores is not None:
        scores = recipe.scores
        lines.append(
            f"Logits are divided by {scores.temperature:.4g} before they become probabilities "
            f"({scores.method}, {code(scores.data)}, {scores.images:,} images). covtool's commands "
            "do so; the model's own outputs are the logits as they are.\n"
        )
        if (doubt := note_on_chosen(scores)) is not None:
            lines.append(f"{doubt}\n")
    if recipe.neighbors is not None and not is_timm_folder:
        kept = recipe.neighbors
        lines.append(
            f"The file keeps the embeddings of {kept.images:,} training images of "
            f"{code(kept.data)}, to tell images of other classes by.\n"
        )
    return _section("Probabilities", "\n".join(lines)) if lines else ""


def usage_section(recipe: Recipe, usage: Usage) -> str:
    """Return commands and code that use the model."""
    name = f"hf-hub:{usage.repo}" if usage.repo else usage.file
    blocks = []
    if not usage.is_timm_folder:
        blocks.append(_shell(_commands(name, is_random=_is_random(recipe))))
        is_local = usage.is_own and not usage.repo
        opened = f'covtool.load("{name}")' if is_local else f'covtool.open_model("{name}").model'
        blocks.append(_python("import covtool", "", f"model = {opened}  # in eval mode"))
    if usage.with_timm:
        blocks.append(_python(*_timm_lines(recipe, usage)))
    return _section("How to use it", "\n".join(blocks))


def license_section(recipe: Recipe, source: SourceWeights | None) -> str:
    """Return the license of the weights that the model began with, as far as it is known."""
    began = code(recipe.provenance.source) if recipe.provenance.source else "what it began with"
    if "network" in recipe.provenance.untrained:
        text = "The weights are random: they are of no license but yours.\n"
    elif source is None or source.license is None:
        text = (
            f"**Not known.** Nothing in the recipe states the license of {began}. "
            "Check it where the weights come from before you use or publish this model.\n"
        )
    else:
        text = (
            f"timm states the license {code(source.license)} for its weights "
            f"{code(source.name)}, which this model began with (unless it was trained from random "
            "weights, which a recipe does not keep).\n"
        )
    return _section("License", f"{text}\nThe training images may have terms of their own.\n")


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _from_one(items: Iterable[object]) -> Iterable[tuple[int, object]]:
    return enumerate(items, start=1)


def _is_random(recipe: Recipe) -> bool:
    return "classifier" in recipe.provenance.untrained


def _arguments(recipe: Recipe) -> str:
    return ", ".join(code(f"{name}={value}") for name, value in recipe.base.arguments.items())


def _operation(operation: Operation) -> str:
    match operation:
        case HeadSpec():
            if operation.own_average:
                return "a new classifier on its own average"
            taps = " and ".join(map(code, operation.taps))
            where = f" on {taps}" if taps else ""
            beside = " beside its own average" if operation.fuse else ""
            return f"{code(operation.head)} head{where}{beside}"
        case ConvolutionSpec():
            count = len(operation.layers or ())
            return f"{count:,} convolutions became {code(operation.conv)} operators"
        case EigenlayerSpec():
            return f"an Eigenlayer of {operation.features:,} features"
    return code(operation.operation)


def _few(names: tuple[str, ...]) -> str:
    return first_few(names, MOST_CLASSES_SHOWN, show=code)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _commands(name: str, *, is_random: bool) -> list[str]:
    if is_random:
        return [
            f"covtool finetune {name} --data IMAGES/",
            f"covtool embed {name} IMAGES/ -o features.safetensors",
        ]
    return [
        f"covtool predict {name} IMAGES/ -o predictions.csv",
        f"covtool evaluate {name} --data LABELED_IMAGES/",
    ]


def _shell(lines: Iterable[str]) -> str:
    return "\n".join(["```sh", *lines, "```", ""])


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```", ""])


def _timm_lines(recipe: Recipe, usage: Usage) -> list[str]:
    if not usage.is_timm_folder and not usage.repo:
        # Without a configuration beside it timm knows neither the structure nor the images.
        given = {"num_classes": recipe.num_classes, **recipe.base.arguments}
        given["checkpoint_path"] = usage.file
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        opened = [f"model = timm.create_model({recipe.base.name!r}, {arguments}).eval()"]
        return [
            "import timm",
            "",
            *opened,
            "# The images it takes are above: timm assumes its own.",
        ]
    where = f"hf-hub:{usage.repo}" if usage.repo else "local-dir:FOLDER"
    lines = [
        "import timm",
        "",
        f'model = timm.create_model("{where}", pretrained=True).eval()',
        "images = timm.data.resolve_data_config(model=model)",
        "transform = timm.data.create_transform(**images)",
    ]
    if recipe.input.exif:
        lines.append("# Turn photos first, as their EXIF data say: PIL.ImageOps.exif_transpose.")
    return lines
