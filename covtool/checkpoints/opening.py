"""One way in for everything that is a model: a covtool file, a checkpoint, a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from covtool import __version__
from covtool.backbones.create import TORCHVISION_PREFIX, default_input, parse_name
from covtool.backbones.pretrained import HUB_PREFIX, NamedModel, model_by_name
from covtool.checkpoints import model_file
from covtool.checkpoints.building import build
from covtool.checkpoints.file_kinds import SUFFIXES, missing_file
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.identify import Identification, identify, unrecognized
from covtool.checkpoints.matching import RGB
from covtool.checkpoints.published import PublishedModel, open_published
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    UnknownVariantError,
    UnrecognizedCheckpointError,
)
from covtool.progress import Track, silent
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe

AS_NEW_WORK = {"exif": True}
"""Fields of `InputSpec` for what is not a covtool file yet; files keep what they were made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model, and where it comes from.

    Attributes:
        model: In eval mode, on the CPU.
        recipe: What it is made of.
        checkpoint: The file it was read from; None for a name.
        identification: How it was recognized; None where nothing had to be.
        notes: What was chosen and may surprise, in sentences.
    """

    model: nn.Module
    recipe: Recipe
    checkpoint: ForeignCheckpoint | None = None
    identification: Identification | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether it was read from somebody else's file."""
        return self.checkpoint is not None and self.checkpoint.recipe is None


def open_model(  # noqa: PLR0913 -- each is an option of the command line that stands for itself
    source: str | Path,
    *,
    arch: str | None = None,
    weights: str = "auto",
    num_classes: int | None = None,
    iterations: int | None = None,
    pretrained: bool = True,
    input_overrides: Mapping[str, Any] | None = None,
    track: Track = silent,
) -> OpenedModel:
    """Open a covtool file, somebody else's checkpoint, or a model by name.

    Args:
        source: A path; or ``resnet50.a1_in1k``, ``torchvision:resnet50``, ``hf-hub:ORG/NAME``.
        arch: Architecture of a checkpoint, where its tensors leave a choice; ``mpncovresnet50``
            for a published covariance network whose file does not say so.
        weights: ``auto``, ``ema`` or ``raw``, where a checkpoint has both.
        num_classes: Outputs of the classifier; another number than that of the source makes a new
            classifier. Not for covtool files.
        iterations: Newton-Schulz steps of a published covariance network, which its file does not
            tell; None for 5. Not for covtool files, which tell it.
        pretrained: Fetch the weights of a name; False starts at random.
        input_overrides: Fields of `InputSpec` that replace those of the architecture.
        track: Shows the progress, should unknown architectures have to be learned.

    Raises:
        CheckpointError: The source cannot be read, fetched, or does not exist.
        UnrecognizedCheckpointError: Its architecture is unknown, or is not `arch`.
    """
    overrides = dict(input_overrides or {})
    path = Path(source)
    if path.exists():
        if path.is_file() and model_file.is_covtool_file(path):
            return _open_own(path, arch, num_classes, overrides)
        overrides = AS_NEW_WORK | overrides
        checkpoint = read_checkpoint(path, weights=weights)
        published = open_published(checkpoint, arch=arch, iterations=iterations)
        if published is not None:
            return _open_published(published, num_classes, overrides)
        return _open_foreign(checkpoint, arch, num_classes, overrides, track)
    if path.suffix in SUFFIXES:
        raise missing_file(path)
    named = _by_name(str(source), num_classes, pretrained)
    notes = ()
    if named.fresh_classifier:
        notes = (f"The classifier for {named.num_classes} classes is new, at random.",)
    elif not pretrained:
        notes = ("The weights are random: the model starts from scratch.",)
    recipe = Recipe(
        base=named.base,
        num_classes=named.num_classes,
        input=_replaced(named.input, AS_NEW_WORK | overrides),
        provenance=Provenance(source=str(source), covtool_version=__version__),
    )
    return _opened(named.model, recipe, notes=notes)


def _open_own(
    path: Path, arch: str | None, num_classes: int | None, overrides: dict[str, Any]
) -> OpenedModel:
    model = model_file.load(path)
    recipe = model.recipe
    if arch is not None and arch.partition(".")[0].removeprefix(TORCHVISION_PREFIX) != (
        recipe.base.name
    ):
        raise CheckpointError(
            f"{path} does not fit {arch}.",
            reason=f"Its recipe says {recipe.base.name}.",
            hint="Leave --arch out: a covtool file says itself what it is.",
        )
    recipe = recipe.model_copy(update={"input": _replaced(recipe.input, overrides)})
    notes = ()
    if num_classes not in (None, recipe.num_classes):
        notes = (f"The file's classifier for {recipe.num_classes} classes is kept.",)
    return _opened(model, recipe, checkpoint=read_checkpoint(path), notes=notes)


def _open_published(
    published: PublishedModel, num_classes: int | None, overrides: dict[str, Any]
) -> OpenedModel:
    notes = published.notes
    if num_classes not in (None, published.num_classes):
        notes = (*notes, f"The file's classifier for {published.num_classes} classes is kept.")
    recipe = Recipe(
        base=published.base,
        operations=published.operations,
        num_classes=published.num_classes,
        input=_replaced(published.input, overrides),
        provenance=_provenance(published.checkpoint),
    )
    return _opened(
        published.model,
        recipe,
        checkpoint=published.checkpoint,
        notes=(*published.checkpoint.notes, *notes),
    )


def _open_foreign(
    checkpoint: ForeignCheckpoint,
    arch: str | None,
    num_classes: int | None,
    overrides: dict[str, Any],
    track: Track,
) -> OpenedModel:
    identification = identify(checkpoint, arch=arch, track=track)
    if not identification.is_certain:
        raise unrecognized(identification)
    checkpoint = identification.checkpoint
    built = build(checkpoint, identification.best, num_classes=num_classes)
    recipe = Recipe(
        base=built.base,
        num_classes=built.num_classes,
        input=_replaced(_input_of(built.base, _tag_of(arch)), overrides),
        provenance=_provenance(checkpoint),
    )
    return _opened(
        built.model,
        recipe,
        checkpoint=checkpoint,
        identification=identification,
        notes=(*checkpoint.notes, *built.notes, *_choice_note(identification)),
    )


def _provenance(checkpoint: ForeignCheckpoint) -> Provenance:
    return Provenance(
        source=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        covtool_version=__version__,
    )


def _tag_of(arch: str | None) -> str | None:
    """The pretrained tag in the name of a timm architecture: it tells the images."""
    if arch is None or "." not in arch:
        return None
    try:
        return parse_name(arch)[1]
    except UnknownVariantError as problem:
        raise UnrecognizedCheckpointError(problem.message, hint=problem.hint) from problem


def _opened(model: nn.Module, recipe: Recipe, **others: Any) -> OpenedModel:
    model.recipe = recipe
    return OpenedModel(model=model, recipe=recipe, **others)


def _choice_note(identification: Identification) -> tuple[str, ...]:
    """Which of several equals was taken."""
    best, *equals = [candidate.name for candidate in identification.candidates]
    if not equals:
        return ()
    more = f" and {len(equals) - 3} more" if len(equals) > 3 else ""
    return (f"{best} is taken; the tensors fit {', '.join(equals[:3])}{more} as well (--arch).",)


def _input_of(base: BaseSpec, tag: str | None) -> InputSpec:
    """The architecture's usual images; of other than RGB, one mean and deviation for all."""
    usual = default_input(base, tag)
    if usual.channels == RGB:
        return usual
    gray = {key: (sum(getattr(usual, key)) / len(getattr(usual, key)),) for key in ("mean", "std")}
    return usual.model_copy(update=gray)


def _replaced(images: InputSpec, overrides: dict[str, Any]) -> InputSpec:
    return InputSpec.model_validate({**images.model_dump(), **overrides})


def _by_name(source: str, num_classes: int | None, pretrained: bool) -> NamedModel:
    try:
        return model_by_name(source, num_classes=num_classes, pretrained=pretrained)
    except UnknownVariantError as problem:
        if source.startswith((TORCHVISION_PREFIX, HUB_PREFIX)):
            raise CheckpointError(problem.message, hint=problem.hint) from problem
        raise _neither_file_nor_name(source, problem) from problem
    except ArgumentError as problem:
        raise CheckpointError(
            f"{source} cannot be opened.", reason=problem.message, hint=problem.reason
        ) from problem


def _neither_file_nor_name(source: str, problem: UnknownVariantError) -> CheckpointError:
    path = Path(source)
    if len(path.parts) > 1:
        return missing_file(path)
    names = sorted(p.name for p in Path().iterdir() if p.suffix in SUFFIXES)
    near = ", ".join(get_close_matches(source, names, n=3, cutoff=0.5))
    return CheckpointError(
        f"{source!r} is neither a file nor the name of an architecture.",
        reason=f"Near it in this folder: {near}." if near else problem.message,
        hint=(problem.hint or "").replace("Available:", "Similar names:"),
    )
