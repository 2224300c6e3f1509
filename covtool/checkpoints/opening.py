"""One way in for everything that is a model: a covtool file, a checkpoint, a name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from covtool import __version__
from covtool.backbones.auxiliary import drop_auxiliary_, has_auxiliary, without_auxiliary
from covtool.backbones.create import TORCHVISION_PREFIX, parse_name
from covtool.backbones.describing import attach_recipe
from covtool.backbones.image_size import take_size_
from covtool.backbones.pretrained import HUB_PREFIX, NamedModel, model_by_name
from covtool.backbones.published_names import current_name
from covtool.checkpoints import model_file
from covtool.checkpoints.auxiliary_heads import LEFT_OUT, leave_out_auxiliary
from covtool.checkpoints.building import build
from covtool.checkpoints.file_kinds import SUFFIXES, missing_file
from covtool.checkpoints.finite import require_finite
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.identify import Identification, identify, unrecognized
from covtool.checkpoints.other_images import compare_images, require_positions
from covtool.checkpoints.own_runs import OwnModel, find_in_run, model_of_state
from covtool.checkpoints.published import PublishedModel, open_published
from covtool.checkpoints.reid import open_reid
from covtool.checkpoints.told.classes import told_classes
from covtool.checkpoints.told.images import Usual, told_images, usual_images
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    UnknownVariantError,
    UnrecognizedCheckpointError,
)
from covtool.progress import Track, silent
from covtool.specs import InputSpec, Provenance, Recipe, Untrained

PUBLISHED_IMAGES = "the published scripts"

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
        made: The images that a covtool file was calibrated or trained on; None for other sources.
        is_far: Whether its images are so far from those that figures say little.
    """

    model: nn.Module
    recipe: Recipe
    checkpoint: ForeignCheckpoint | None = None
    identification: Identification | None = None
    notes: tuple[str, ...] = ()
    made: InputSpec | None = None
    is_far: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether it was read from somebody else's file."""
        file = self.checkpoint
        return file is not None and file.recipe is None and file.saved is None


def open_model(  # noqa: PLR0913 -- each is an option of the command line that stands for itself
    source: str | Path,
    *,
    arch: str | None = None,
    weights: str = "auto",
    classifier_layer: str | None = None,
    num_classes: int | None = None,
    iterations: int | None = None,
    pretrained: bool = True,
    input_overrides: Mapping[str, Any] | None = None,
    finite: bool = True,
    track: Track = silent,
) -> OpenedModel:
    """Open a covtool file, somebody else's checkpoint, or a model by name.

    Args:
        source: A path, also of a run's folder (its best model; ``RUN@last`` the last one) or of
            one of its states; or ``resnet50.a1_in1k``, ``torchvision:resnet50``,
            ``hf-hub:ORG/NAME``.
        arch: Architecture of a checkpoint, where its tensors leave a choice; ``mpncovresnet50``
            for a published covariance network whose file does not say so.
        weights: ``auto``, ``ema`` or ``raw``, where a checkpoint has both; or the name of a set of
            weights: ``student``, ``encoder_k``.
        classifier_layer: Of a checkpoint that has several linear layers which may be it.
        num_classes: Outputs of the classifier; another number than that of the source makes a new
            classifier. Not for covtool files.
        iterations: Newton-Schulz steps of a published covariance network, which its file does not
            tell; None for 5. Not for covtool files, which tell it.
        pretrained: Fetch the weights of a name; False starts at random.
        input_overrides: Fields of `InputSpec` that replace those of the architecture.
        finite: Refuse weights that are infinite or not numbers.
        track: Shows the progress, should unknown architectures have to be learned.

    Raises:
        CheckpointError: The source cannot be read, fetched, or does not exist; or its weights are
            not finite.
        UnrecognizedCheckpointError: Its architecture is unknown, or is not `arch`.
        ArgumentError: It does not take images as `input_overrides` has them.
    """
    overrides = dict(input_overrides or {})
    opened = _open(
        source,
        arch,
        weights,
        classifier_layer,
        num_classes,
        iterations,
        pretrained,
        overrides,
        track,
    )
    if finite:
        require_finite(opened.model, str(source))
    return _on_images(opened, resized="size" in overrides) if overrides else opened


def _open(  # noqa: PLR0913 -- the arguments of `open_model`
    source: str | Path,
    arch: str | None,
    weights: str,
    classifier_layer: str | None,
    num_classes: int | None,
    iterations: int | None,
    pretrained: bool,
    overrides: dict[str, Any],
    track: Track,
) -> OpenedModel:
    in_run, taken = find_in_run(source)
    path = in_run or Path(source)
    if path.exists():
        if path.is_file() and model_file.is_covtool_file(path):
            return _open_own(_own_file(path, taken), arch, num_classes, overrides)
        checkpoint = read_checkpoint(path, weights=weights)
        if checkpoint.saved is not None:
            return _open_own(model_of_state(checkpoint), arch, num_classes, overrides)
        overrides = AS_NEW_WORK | overrides
        published = open_published(checkpoint, arch=arch, iterations=iterations)
        published = published or open_reid(checkpoint, arch=arch)
        if published is not None:
            return _open_published(published, num_classes, overrides)
        if arch is not None:
            _require_known_tag(arch := current_name(arch))
            checkpoint = replace(checkpoint, told=checkpoint.told.with_architecture(arch))
        identification = identify(
            checkpoint,
            arch=arch,
            classifier_layer=classifier_layer,
            size=overrides.get("size"),
            track=track,
        )
        return _open_foreign(identification, num_classes, overrides)
    if path.suffix in SUFFIXES:
        raise missing_file(path)
    named = _by_name(str(source), num_classes, pretrained)
    notes, untrained = (), ()
    if named.fresh_classifier:
        untrained = ("classifier",)
        notes = (f"The classifier for {named.num_classes} classes is new, at random.",)
    elif not pretrained:
        untrained = ("network",)
        notes = ("The weights are random: the model starts from scratch.",)
    recipe = Recipe(
        base=named.base,
        num_classes=named.num_classes,
        class_names=named.class_names,
        input=_replaced(named.input, AS_NEW_WORK | overrides),
        provenance=Provenance(source=str(source), covtool_version=__version__, untrained=untrained),
    )
    return _opened(named.model, recipe, notes=notes)


def _on_images(opened: OpenedModel, *, resized: bool) -> OpenedModel:
    """The model on images that somebody asked for, once it is sure that it can take them.

    Raises:
        ArgumentError: It cannot, or nothing could come of it.
    """
    model, recipe, notes, is_far = opened.model, opened.recipe, opened.notes, False
    if resized:
        base = take_size_(model, recipe.base, recipe.input.size, recipe.input.channels)
        if base != recipe.base:
            size = "{}x{}".format(*recipe.input.size)
            notes = (*notes, f"The position embeddings are resampled for images of {size}.")
            recipe = recipe.model_copy(update={"base": base})
            attach_recipe(model, recipe)
        require_positions(model, recipe)
    others = None if opened.made is None else compare_images(opened.made, recipe.input)
    if others is not None:
        notes, is_far = (*notes, others.note), others.is_far
    return replace(opened, recipe=recipe, notes=notes, is_far=is_far)


def _own_file(path: Path, notes: tuple[str, ...]) -> OwnModel:
    model = model_file.load(path)
    checkpoint = read_checkpoint(path)
    return OwnModel(model=model, recipe=model.recipe, checkpoint=checkpoint, notes=notes)


def _open_own(
    own: OwnModel, arch: str | None, num_classes: int | None, overrides: dict[str, Any]
) -> OpenedModel:
    path, recipe, notes = own.checkpoint.path, own.recipe, own.notes
    if arch is not None and arch.partition(".")[0].removeprefix(TORCHVISION_PREFIX) != (
        recipe.base.name
    ):
        raise CheckpointError(
            f"{path} does not fit {arch}.",
            reason=f"Its recipe says {recipe.base.name}.",
            hint="Leave --arch out: a covtool file says itself what it is.",
        )
    recipe = recipe.model_copy(update={"input": _replaced(recipe.input, overrides)})
    model = own.model
    if has_auxiliary(recipe.base):  # of a file that was written before they were left out
        drop_auxiliary_(model)
        recipe = recipe.model_copy(update={"base": without_auxiliary(recipe.base)})
        notes = (*notes, LEFT_OUT)
    if num_classes not in (None, recipe.num_classes):
        notes = (*notes, f"The file's classifier for {recipe.num_classes} classes is kept.")
    made = own.recipe.input
    return _opened(model, recipe, checkpoint=own.checkpoint, notes=notes, made=made)


def _open_published(
    published: PublishedModel, num_classes: int | None, overrides: dict[str, Any]
) -> OpenedModel:
    notes = published.notes
    if num_classes not in (None, published.num_classes):
        notes = (*notes, f"The file's classifier for {published.num_classes} classes is kept.")
    told, usual = published.checkpoint.told, Usual(input=published.input, whose=PUBLISHED_IMAGES)
    images = told_images(told, published.base, usual, overrides=overrides)
    names, of_classes = None, ()
    if published.has_classifier:
        names, of_classes = told_classes(told, published.num_classes)
    recipe = Recipe(
        base=published.base,
        operations=published.operations,
        num_classes=published.num_classes,
        class_names=names,
        input=images.input,
        provenance=_provenance(
            published.checkpoint,
            untrained=() if published.has_classifier else ("classifier",),
        ),
    )
    return _opened(
        published.model,
        recipe,
        checkpoint=published.checkpoint,
        notes=(*published.checkpoint.notes, *notes, *of_classes, *images.notes),
    )


def _open_foreign(
    identification: Identification,
    num_classes: int | None,
    overrides: dict[str, Any],
) -> OpenedModel:
    if not identification.is_certain:
        raise unrecognized(identification)
    identification, of_heads = leave_out_auxiliary(identification)
    checkpoint = identification.checkpoint
    built = build(checkpoint, identification.best, num_classes=num_classes)
    images = told_images(
        checkpoint.told,
        built.base,
        usual_images(built.base),
        equals=[candidate.architecture.name for candidate in identification.candidates],
        overrides=overrides,
    )
    names, of_classes = None, ()
    if not built.fresh_classifier:
        names, of_classes = told_classes(checkpoint.told, built.num_classes)
    recipe = Recipe(
        base=built.base,
        num_classes=built.num_classes,
        class_names=names,
        input=images.input,
        provenance=_provenance(
            checkpoint, untrained=("classifier",) if built.fresh_classifier else ()
        ),
    )
    return _opened(
        built.model,
        recipe,
        checkpoint=checkpoint,
        identification=identification,
        notes=(
            *checkpoint.notes,
            *of_heads,
            *built.notes,
            *_choice_note(identification),
            *of_classes,
            *images.notes,
        ),
    )


def require_trained_classifier(source: str | Path, recipe: Recipe) -> None:
    """Refuse to measure what a random classifier answers.

    Args:
        source: As `open_model` took it.
        recipe: Of the model.

    Raises:
        CheckpointError: The classifier, or the whole network, has random weights.
    """
    if not {"network", "classifier"} & set(recipe.provenance.untrained):
        return
    what = "weights" if "network" in recipe.provenance.untrained else "classifier"
    raise CheckpointError(
        f"{source} has no trained classifier: what it answers is random.",
        reason=f"Nothing that was read holds {'them' if what == 'weights' else 'one'}: its {what} "
        "would start at random.",
        hint="Train it with covtool finetune, or solve for a classifier with covtool convert "
        "--head gap --calibrate DIR. Its features can be used as they are: covtool embed.",
    )


def _provenance(checkpoint: ForeignCheckpoint, untrained: tuple[Untrained, ...] = ()) -> Provenance:
    return Provenance(
        source=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        covtool_version=__version__,
        untrained=untrained,
    )


def _require_known_tag(arch: str) -> None:
    """The pretrained tag in the name of a timm architecture tells the images: it must exist."""
    if arch.startswith(TORCHVISION_PREFIX) or "." not in arch:
        return
    try:
        parse_name(arch)
    except UnknownVariantError as problem:
        raise UnrecognizedCheckpointError(problem.message, hint=problem.hint) from problem


def _opened(model: nn.Module, recipe: Recipe, **others: Any) -> OpenedModel:
    attach_recipe(model, recipe)
    return OpenedModel(model=model, recipe=recipe, **others)


def _choice_note(identification: Identification) -> tuple[str, ...]:
    """Which of several equals was taken."""
    best, *equals = [candidate.name for candidate in identification.candidates]
    if not equals:
        return ()
    more = f" and {len(equals) - 3} more" if len(equals) > 3 else ""
    return (f"{best} is taken; the tensors fit {', '.join(equals[:3])}{more} as well (--arch).",)


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
