"""Constraints on the filters of decoupled convolutions: orthogonality, and a fixed norm."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from covtool.errors import ArgumentError
from covtool.layers import ConvOperator
from covtool.ops.filters import orthogonality_penalty, project_filters
from covtool.specs import ConvolutionSpec, Recipe, TrainingSpec, as_flag
from covtool.surgery.operations import of_kind
from covtool.variants import CONVOLUTIONS

CONSTRAINTS = ("weight_projection", "projection_norm", "orthogonality", "weighted_gradients")
FREE_OF_WEIGHTING = ("orthogonality",)  # the others need filters whose norms do not count


class FilterConstraints:
    """The constraints that the operators of a model carry in their specs.

    Args:
        model: Model whose filters are trained.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [m for m in model.modules() if isinstance(m, ConvOperator)]
        self._penalized = [layer for layer in layers if layer.spec.orthogonality]
        self._projected = [layer for layer in layers if layer.spec.weight_projection]

    def penalty(self) -> Tensor | None:
        """Return the term that is added to the loss; None where nothing is."""
        if not self._penalized:
            return None
        each = [
            m.spec.orthogonality * orthogonality_penalty(m.filters(), groups=m.groups)
            for m in self._penalized
        ]
        return torch.stack(each).sum()

    @torch.no_grad()
    def project_(self, updates: int) -> None:
        """Bring filters back to their norm, where so many updates make it due."""
        for layer in self._projected:
            # What is frozen stays as it is, to the last bit.
            if updates % layer.spec.weight_projection == 0 and layer.weight.requires_grad:
                layer.weight.copy_(project_filters(layer.weight, layer.spec.projection_norm))


def constrain_(model: nn.Module, recipe: Recipe, training: TrainingSpec) -> Recipe:
    """Give the operators of a model the constraints that a run asks for; the recipe says so.

    Args:
        model: Model whose operators get them, in place; their weights stay as they are.
        recipe: Recipe of the model.
        training: Settings with the constraints; None leaves one as the recipe has it.

    Raises:
        ArgumentError: The model has no operator that takes one.
    """
    given = {name: getattr(training, name) for name in CONSTRAINTS}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return recipe
    operations = tuple(
        _constrained(o, given) if o.operation == "conv" else o for o in recipe.operations
    )
    specs = of_kind(operations, ConvolutionSpec)
    _refuse_useless(given, specs)
    modules = dict(model.named_modules())
    for spec in specs:
        for path in spec.layers or ():
            if isinstance(modules.get(path), ConvOperator):  # a head's tap may have dropped it
                modules[path].spec = spec
    return recipe.model_copy(update={"operations": operations})


def _constrained(spec: ConvolutionSpec, given: dict[str, float]) -> ConvolutionSpec:
    takes = CONVOLUTIONS[spec.conv].options
    free = spec.weighting == "none"  # else a filter's norm is part of what it computes
    kept = {n: v for n, v in given.items() if n in takes and (free or n in FREE_OF_WEIGHTING)}
    done = spec.model_copy(update=kept)
    if done.weight_projection:
        return done
    # A norm that nothing is projected to would tell two equal models apart.
    unused = ConvolutionSpec.model_fields["projection_norm"].default
    return done.model_copy(update={"projection_norm": unused})


def _refuse_useless(given: dict[str, float], specs: Sequence[ConvolutionSpec]) -> None:
    if "projection_norm" in given and specs and not any(s.weight_projection for s in specs):
        raise ArgumentError(
            "--projection-norm has no effect without --weight-projection.",
            hint="Add --weight-projection 1, or leave it out.",
        )
    for name, value in given.items():
        if not any(getattr(spec, name) == value for spec in specs):
            raise ArgumentError(
                f"{as_flag(name)} has no effect on this model.",
                reason="Its filters' norms count (--weighting), or its operators do not take it."
                if specs
                else "It has no decoupled convolutions.",
                hint="Convert the source: covtool convert MODEL --conv tanh --calibrate DIR.",
            )
