"""Hybrid training: the head's matrix function is exchanged at an epoch, its weights stay.

Song, Sebe, Wang (ICCV 2021) train with Newton-Schulz iteration first and with an exact square root
later. Between heads that pool one matrix of the same size nothing but a function differs, so the
parameters remain the very same objects: optimizer, moving average and compiled forms go on.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from covtool.backbones.model_size import without_weights
from covtool.errors import ArgumentError
from covtool.layers import CovariancePooling, GlobalPooling
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.specs import HeadSpec, Recipe
from covtool.specs.head_schedule import HeadPhase, parse_head_schedule
from covtool.surgery.operations import of_kind
from covtool.variants import HEADS


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSchedule:
    """The heads of a run, as a function of the epoch, so that a resumed run has the right one.

    Attributes:
        own: Head that the model came with.
        phases: Epochs that heads take over at, counted from 0 and rising, with these heads.
    """

    own: HeadSpec
    phases: tuple[tuple[int, HeadSpec], ...]

    def at(self, epoch: int) -> HeadSpec:
        """Return the head in use in an epoch; the model's own before the first phase."""
        return next((spec for start, spec in reversed(self.phases) if start <= epoch), self.own)

    def switch_(self, models: Iterable[nn.Module], epoch: int) -> None:
        """Give the models the head of an epoch, in place."""
        for model in models:
            # The modules stay, with their parameters: the optimizer holds these very objects.
            for pooling in poolings_in(model):
                pooling.matrix = _built(pooling, self.at(epoch)).matrix

    def note(self, epoch: int) -> str | None:
        """Return what changes with an epoch, in a sentence."""
        before, after = self.own if epoch == 0 else self.at(epoch - 1), self.at(epoch)
        if before == after:
            return None
        return f"Epoch {epoch + 1}: the head switches from {label(before)} to {label(after)}."

    def recipe(self, recipe: Recipe, epoch: int) -> Recipe:
        """Return a recipe with the head of an epoch in place of the model's own."""
        operations = (self.at(epoch) if o == self.own else o for o in recipe.operations)
        return recipe.model_copy(update={"operations": tuple(operations)})


def plan_head_schedule(
    text: str | None, model: nn.Module, recipe: Recipe, *, epochs: int
) -> HeadSchedule | None:
    """Return the schedule of a run; None where the model has no covtool head and none is asked for.

    Args:
        text: Schedule, like ``isqrt@0,mpn:pade@30``; None for the model's own head throughout.
        model: Model to be trained; stays as it is.
        recipe: Recipe of the model.
        epochs: Epochs of the run.

    Raises:
        ArgumentError: A head does not exist, is never reached, or has other weights.
    """
    own = next(iter(of_kind(recipe.operations, HeadSpec)), None)
    if text is None:
        return None if own is None else HeadSchedule(own=own, phases=())
    poolings = poolings_in(model)
    if own is None or not poolings:
        raise ArgumentError(
            "--head-schedule switches between covariance heads, and the model has none.",
            hint="Convert it first: covtool convert MODEL --head isqrt.",
        )
    phases = parse_head_schedule(text)
    if phases[-1].epoch >= epochs:
        raise ArgumentError(
            f"--head-schedule {text} has a phase from epoch {phases[-1].epoch} on, "
            f"but the run ends after {epochs} epochs, the last of which is {epochs - 1}.",
            hint="Raise --epochs, or switch earlier.",
        )
    specs = tuple((phase.epoch, _spec(own, phase)) for phase in phases)
    for _, spec in specs:
        for pooling in poolings:
            _require_same_weights(pooling, own, spec)
    return HeadSchedule(own=own, phases=specs)


def label(spec: HeadSpec) -> str:
    """Return a head as the schedule writes it: ``mpn:pade``, or ``mpn`` with the exact gradient."""
    ruled = "gradient" in HEADS[spec.head].options and spec.gradient != "exact"
    return f"{spec.head}:{spec.gradient}" if ruled else spec.head


def poolings_in(model: nn.Module) -> list[CovariancePooling]:
    """Find what a model's covariance head consists of, a pooling for each tap; or nothing.

    Their matrix functions can be exchanged.
    """
    return [m for m in model.modules() if isinstance(m, CovariancePooling)]


def _spec(own: HeadSpec, phase: HeadPhase) -> HeadSpec:
    """Return the model's own head under another name, without options that this does not take."""
    row = HEADS[phase.head]
    changes = {
        name: field.default
        for name, field in HeadSpec.model_fields.items()
        if name not in ("operation", *row.options)
    }
    if phase.gradient is not None:
        if "gradient" not in row.options:
            raise ArgumentError(
                f"The head {row.name!r} has no gradient rule to choose.",
                hint=f"Write {row.name}@{phase.epoch}.",
            )
        # The order belongs to the old rule: terms of a series, or components.
        changes |= {"gradient": GRADIENTS[phase.gradient].name, "gradient_order": None}
    return own.model_copy(update={**changes, "head": row.name})


def _built(pooling: GlobalPooling, spec: HeadSpec) -> GlobalPooling:
    with without_weights():  # only its function is wanted
        return HEADS[spec.head].build(pooling.in_features, spec)


def _require_same_weights(pooling: GlobalPooling, own: HeadSpec, spec: HeadSpec) -> None:
    built = _built(pooling, spec)
    same = type(built) is type(pooling) and built.num_features == pooling.num_features
    if not same:
        raise ArgumentError(
            f"The head cannot switch from {label(own)} to {label(spec)}: the weights differ.",
            reason=f"{type(pooling).__name__} with {pooling.num_features:,} features against "
            f"{type(built).__name__} with {built.num_features:,}.",
            hint="Heads that pool one matrix of the same size can be switched: "
            f"{', '.join(_switchable(pooling, own))}.",
        )


def _switchable(pooling: GlobalPooling, own: HeadSpec) -> list[str]:
    def fits(name: str) -> bool:
        built = _built(pooling, _spec(own, HeadPhase(head=name, epoch=0)))
        return type(built) is type(pooling) and built.num_features == pooling.num_features

    return [name for name in HEADS.names if fits(name)]
