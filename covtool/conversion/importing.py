"""Networks of other programs that have a covtool head already, imported as they are."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.published import ASSUMED_ITERATIONS, ASSUMED_META_LAYER
from covtool.checkpoints.published_import import imported_as_it_is, imported_head
from covtool.conversion.records import ConversionRequest
from covtool.specs import HeadSpec, NeckSpec, Operation, Recipe
from covtool.specs.provenance import ConversionStep
from covtool.surgery.operations import of_kind
from covtool.surgery.rebuild import rebuild


def is_import(recognized: Sequence[Operation], request: ConversionRequest) -> bool:
    """Return whether a file of another program becomes a covtool file with the head that it has.

    A published covariance head can only be imported. A pooling with a neck behind it can also be
    replaced: it is imported where the request is for that very pooling and no other classes.

    Args:
        recognized: Operations that the file was recognized by.
        request: The request.
    """
    heads = [head.head for head in of_kind(recognized, HeadSpec)]
    # A neck marks the networks of re-identification; without one the head is a published one.
    if not of_kind(recognized, NeckSpec):
        return bool(heads)
    anew = request.classes_from or request.calibrate_with or request.spec.num_classes
    same_head = HeadSpec(head=heads[0] if heads else "gap")
    return not anew and list(request.operations) == [same_head]


def import_model(
    opened: OpenedModel, request: ConversionRequest
) -> tuple[nn.Module, Recipe, tuple[str, ...]]:
    """Return the model of another program, its recipe, and notes.

    Args:
        opened: The file.
        request: The request, which may choose between heads that take the same weights.

    Raises:
        ArgumentError: The weights were trained with other operations than the requested ones.
    """
    own = next(iter(of_kind(opened.recipe.operations, HeadSpec)), None)
    heads = of_kind(request.operations, HeadSpec)
    others = len(heads) < len(request.operations)
    if others or request.classes_from or request.calibrate_with or request.spec.num_classes:
        raise imported_as_it_is(
            request.source.name, "--conv, --last-stride, --data, --calibrate and --num-classes"
        )
    requested = next(iter(heads), HeadSpec())
    spec = own and imported_head(request.source.name, own, requested)
    step = ConversionStep(source=Path(request.source.name).name)
    provenance = opened.recipe.provenance.with_step(step)
    operations = tuple(spec if o is own else o for o in opened.recipe.operations)
    recipe = opened.recipe.model_copy(update={"provenance": provenance, "operations": operations})
    if spec == own:
        return opened.model, recipe, opened.notes
    model = rebuild(recipe)
    # Heads that take the same weights have the same names and shapes.
    model.load_state_dict(opened.model.state_dict())
    # The notes on what was assumed about the head do not hold for the requested one.
    assumed = (ASSUMED_META_LAYER, ASSUMED_ITERATIONS) if spec.head != own.head else ()
    kept = (note for note in opened.notes if not note.startswith(assumed))
    return model, recipe, (*kept, f"The meta-layer is {spec.head}, as requested.")
