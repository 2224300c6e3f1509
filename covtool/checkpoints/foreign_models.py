"""Models of checkpoints that other programs wrote, with what their files say."""

from dataclasses import replace

from covtool import __version__
from covtool.backbones.create import TORCHVISION_PREFIX, parse_name
from covtool.backbones.published_names import current_name
from covtool.checkpoints.auxiliary_heads import leave_out_auxiliary
from covtool.checkpoints.building import build
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.identification import Identification
from covtool.checkpoints.metadata.classes import stated_classes
from covtool.checkpoints.metadata.images import Usual, stated_images, usual_images
from covtool.checkpoints.opened import OpenedModel, OpenRequest, opened
from covtool.checkpoints.published import PublishedModel
from covtool.checkpoints.recognizing import identify
from covtool.checkpoints.refusals import unrecognized
from covtool.errors import UnknownVariantError, UnrecognizedCheckpointError
from covtool.printable import first_few
from covtool.specs import Provenance, Recipe, Untrained

PUBLISHED_IMAGES = "the published scripts"


def open_published_model(published: PublishedModel, request: OpenRequest) -> OpenedModel:
    """Return the model of a published network whose head is known: a covariance, a re-id neck."""
    notes = published.notes
    if request.num_classes not in (None, published.num_classes):
        notes = (*notes, f"The file's classifier for {published.num_classes} classes is kept.")
    stated, usual = (
        published.checkpoint.statements,
        Usual(input=published.input, whose=PUBLISHED_IMAGES),
    )
    images = stated_images(stated, published.base, usual, overrides=request.new_images)
    names, of_classes = None, ()
    if published.has_classifier:
        names, of_classes = stated_classes(stated, published.num_classes)
    recipe = Recipe(
        base=published.base,
        operations=published.operations,
        num_classes=published.num_classes,
        class_names=names,
        input=images.input,
        provenance=provenance_of(
            published.checkpoint,
            untrained=() if published.has_classifier else ("classifier",),
        ),
    )
    return opened(
        published.model,
        recipe,
        checkpoint=published.checkpoint,
        notes=(*published.checkpoint.notes, *notes, *of_classes, *images.notes),
    )


def open_foreign(checkpoint: ForeignCheckpoint, request: OpenRequest) -> OpenedModel:
    """Return the model of a checkpoint that other programs wrote.

    Raises:
        UnrecognizedCheckpointError: Its architecture is unknown, or is not the one named.
        CheckpointError: It holds several networks or classifiers, and nothing says which is meant.
    """
    arch = request.source.arch
    if arch is not None:
        _require_known_tag(arch := current_name(arch))
        checkpoint = replace(checkpoint, statements=checkpoint.statements.with_architecture(arch))
    identification = identify(
        checkpoint,
        arch=arch,
        classifier_layer=request.source.classifier_layer,
        size=request.source.size,
        track=request.track,
    )
    if not identification.is_certain:
        raise unrecognized(identification)
    identification, of_heads = leave_out_auxiliary(identification)
    checkpoint = identification.checkpoint
    built = build(checkpoint, identification.best, num_classes=request.num_classes)
    images = stated_images(
        checkpoint.statements,
        built.base,
        usual_images(built.base),
        equals=[candidate.architecture.name for candidate in identification.candidates],
        overrides=request.new_images,
    )
    names, of_classes = None, ()
    if not built.fresh_classifier:
        names, of_classes = stated_classes(checkpoint.statements, built.num_classes)
    recipe = Recipe(
        base=built.base,
        num_classes=built.num_classes,
        class_names=names,
        input=images.input,
        provenance=provenance_of(
            checkpoint, untrained=("classifier",) if built.fresh_classifier else ()
        ),
    )
    return opened(
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


def provenance_of(
    checkpoint: ForeignCheckpoint, untrained: tuple[Untrained, ...] = ()
) -> Provenance:
    """Return where a model of a checkpoint comes from."""
    return Provenance(
        source=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        covtool_version=__version__,
        untrained=untrained,
    )


def _require_known_tag(arch: str) -> None:
    """Require that the pretrained tag in a timm name exists, as it decides about the images."""
    if arch.startswith(TORCHVISION_PREFIX) or "." not in arch:
        return
    try:
        parse_name(arch)
    except UnknownVariantError as problem:
        raise UnrecognizedCheckpointError(problem.message, hint=problem.hint) from problem


def _choice_note(identification: Identification) -> tuple[str, ...]:
    """Return which of several equals was taken."""
    best, *equals = [candidate.name for candidate in identification.candidates]
    if not equals:
        return ()
    return (f"{best} is taken; the tensors fit {first_few(equals, 3)} as well (--arch).",)
