"""One way in for everything that is a model: a covtool file, a checkpoint, a name."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from covtool import __version__
from covtool.backbones.auxiliary import drop_auxiliary_, has_auxiliary, without_auxiliary
from covtool.backbones.image_size import take_size_
from covtool.backbones.names import HUB_PREFIX, TORCHVISION_PREFIX
from covtool.backbones.pretrained import NamedModel, model_by_name
from covtool.checkpoints import model_file
from covtool.checkpoints.auxiliary_heads import LEFT_OUT
from covtool.checkpoints.finite import require_finite
from covtool.checkpoints.foreign import read_checkpoint
from covtool.checkpoints.foreign_models import open_foreign, open_published_model
from covtool.checkpoints.hub import HubFile, own_file
from covtool.checkpoints.naming import place_of_model, unknown_name
from covtool.checkpoints.opened import OpenedModel, OpenRequest, opened, replaced
from covtool.checkpoints.other_images import compare_images, require_positions
from covtool.checkpoints.own_runs import OwnModel, model_of_state
from covtool.checkpoints.places import SUFFIXES, is_there, missing_file
from covtool.checkpoints.published import open_published
from covtool.checkpoints.reid import open_reid
from covtool.checkpoints.room import may_be_large, require_room_for_images
from covtool.errors import ArgumentError, CheckpointError, UnknownVariantError
from covtool.printable import printable
from covtool.progress import Track, silent
from covtool.regular_files import is_regular
from covtool.run_files import STATES
from covtool.specs import ModelSource, Provenance, Recipe
from covtool.surgery.describing import attach_recipe

NOT_RANDOM = "Its weights are not random: only a name of timm or torchvision starts from scratch."


def open_model(
    source: ModelSource | str | Path,
    *,
    num_classes: int | None = None,
    finite: bool = True,
    track: Track = silent,
    **fields: Any,
) -> OpenedModel:
    """Open a covtool file, another program's checkpoint, or a model by name.

    Args:
        source: The model, or its name or path alone.
        num_classes: Outputs of the classifier; another number than that of the source makes a new
            classifier. Not for covtool files.
        finite: Whether to refuse weights that are infinite or not numbers.
        track: Display of the progress, should unknown architectures have to be learned.
        **fields: Other fields of `ModelSource`: ``arch="resnet50"``, ``from_scratch=True``,
            ``input={"size": (128, 64)}``.

    Raises:
        CheckpointError: The source cannot be read, fetched, or does not exist; its weights are
            not finite; or it is larger than the limit of `covtool.model_limit`.
        UnrecognizedCheckpointError: Its architecture is unknown, or is not `arch`.
        ArgumentError: It does not take images as `input` has them.
    """
    source = ModelSource.of(source, **fields)
    found = _open(OpenRequest(source=source, num_classes=num_classes, track=track))
    has_its_size = found.made is not None and source.size is None
    if not has_its_size and may_be_large(found.recipe):
        with suppress(ArgumentError):  # raised again where the model is run
            require_room_for_images(found.model, found.recipe, source.name)
    if finite:
        require_finite(found.model, source.name)
    return _on_images(found, resized=source.size is not None) if source.input else found


def _open(request: OpenRequest) -> OpenedModel:
    source = request.source
    path, is_run, taken = place_of_model(source.name)
    if is_there(path):
        if is_regular(path) and model_file.is_covtool_file(path):
            _require_one_set(path, source.weights, is_run=is_run)
            return _open_own(_own_file(path, taken), request)
        checkpoint = read_checkpoint(path, weights=source.weights)
        if checkpoint.saved is not None:
            return _open_own(model_of_state(checkpoint), request)
        published = open_published(checkpoint, arch=source.arch, iterations=source.iterations)
        published = published or open_reid(checkpoint, arch=source.arch)
        if published is not None:
            return open_published_model(published, request)
        return open_foreign(checkpoint, request)
    on_hub = own_file(source.name) if source.name.startswith(HUB_PREFIX) else None
    if on_hub is not None:
        return _open_own(_own_on_hub(on_hub, source), request)
    if path.suffix in SUFFIXES:
        raise missing_file(path)
    return _open_named(request)


def _own_on_hub(found: HubFile, source: ModelSource) -> OwnModel:
    # As with files on the disk; of a name, --from-scratch would be expected to change something.
    kept = (NOT_RANDOM,) if source.from_scratch else ()
    return _own_file(found.path, (found.note, *kept))


def _open_named(request: OpenRequest) -> OpenedModel:
    name, from_scratch = request.source.name, request.source.from_scratch
    named = _by_name(name, request.num_classes, pretrained=not from_scratch)
    notes, untrained = (), ()
    if named.fresh_classifier:
        untrained = ("classifier",)
        notes = (f"The classifier for {named.num_classes} classes is new, at random.",)
    elif from_scratch:
        untrained = ("network", "classifier")
        notes = ("The weights are random: the model starts from scratch.",)
    recipe = Recipe(
        base=named.base,
        num_classes=named.num_classes,
        class_names=named.class_names,
        input=replaced(named.input, request.new_images),
        provenance=Provenance(source=name, covtool_version=__version__, untrained=untrained),
    )
    return opened(named.model, recipe, notes=notes)


def _on_images(found: OpenedModel, *, resized: bool) -> OpenedModel:
    """Return the model on the images that were asked for, once it is sure that it can take them.

    Raises:
        ArgumentError: It cannot, or nothing could come of it.
    """
    model, recipe, notes, is_far = found.model, found.recipe, found.notes, False
    if resized:
        base = take_size_(model, recipe.base, recipe.input.size, recipe.input.channels)
        # Only after the weights are loaded: embeddings are resampled from the trained ones.
        if base != recipe.base:
            size = "{}x{}".format(*recipe.input.size)
            notes = (*notes, f"The position embeddings are resampled for images of {size}.")
            recipe = recipe.model_copy(update={"base": base})
            attach_recipe(model, recipe)
        require_positions(model, recipe)
    others = None if found.made is None else compare_images(found.made, recipe.input)
    if others is not None:
        notes, is_far = (*notes, others.note), others.is_far
    return replace(found, recipe=recipe, notes=notes, is_far=is_far)


def _own_file(path: Path, notes: tuple[str, ...]) -> OwnModel:
    checkpoint = read_checkpoint(path)
    tensors = {**checkpoint.tensors, **checkpoint.neighbors}
    model = model_file.assemble(model_file.read_recipe(path), tensors, path)
    return OwnModel(model=model, recipe=model.recipe, checkpoint=checkpoint, notes=notes)


def _require_one_set(path: Path, weights: str, *, is_run: bool) -> None:
    """Refuse to choose among the weights of a covtool file, which has one set, of either kind."""
    if weights == "auto":
        return
    states = path.parent.parent / STATES / f"{path.stem}.pt"
    raise ArgumentError(
        f"There is nothing to choose in {path} with --weights {printable(weights, longest=100)}.",
        reason="A covtool file has one set of weights: the average, where there was one.",
        hint=f"{states} has all sets, or leave --weights out." if is_run else "Leave it out.",
    )


def _open_own(own: OwnModel, request: OpenRequest) -> OpenedModel:
    path, recipe, notes = own.checkpoint.path, own.recipe, own.notes
    arch, num_classes = request.source.arch, request.num_classes
    if arch is not None and arch.partition(".")[0].removeprefix(TORCHVISION_PREFIX) != (
        recipe.base.name
    ):
        raise CheckpointError(
            f"{path} does not fit {arch}.",
            reason=f"Its recipe says {recipe.base.name}.",
            hint="Leave --arch out: a covtool file says itself what it is.",
        )
    recipe = recipe.model_copy(update={"input": replaced(recipe.input, request.source.input)})
    model = own.model
    if has_auxiliary(recipe.base):  # of a file that was written before they were left out
        drop_auxiliary_(model)
        recipe = recipe.model_copy(update={"base": without_auxiliary(recipe.base)})
        notes = (*notes, LEFT_OUT)
    if num_classes not in (None, recipe.num_classes):
        notes = (*notes, f"The file's classifier for {recipe.num_classes} classes is kept.")
    made = own.recipe.input
    return opened(model, recipe, checkpoint=own.checkpoint, notes=notes, made=made)


def _by_name(source: str, num_classes: int | None, *, pretrained: bool) -> NamedModel:
    try:
        return model_by_name(source, num_classes=num_classes, pretrained=pretrained)
    except UnknownVariantError as problem:
        raise unknown_name(source, problem) from problem
    except ArgumentError as problem:
        raise CheckpointError(
            f"{source} cannot be opened.", reason=problem.message, hint=problem.reason
        ) from problem
