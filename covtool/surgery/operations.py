"""The operations that a recipe can hold. A new operation is a new row here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import nn

from covtool.errors import ArgumentError
from covtool.registry import Registry
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
    LastStrideSpec,
    NeckSpec,
    Operation,
    PatchStrideSpec,
    StemSpec,
)
from covtool.specs.provenance import OperationRecord
from covtool.specs.record import Record
from covtool.surgery.convolutions import ConvolutionsPlan, apply_convolutions, plan_convolutions
from covtool.surgery.eigenlayer import apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import HeadPlan, apply_head, plan_head
from covtool.surgery.instance_batch_norm import apply_instance_batch_norm, plan_instance_batch_norm
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride
from covtool.surgery.neck import apply_neck, plan_neck
from covtool.surgery.patch_stride import apply_patch_stride, plan_patch_stride
from covtool.surgery.stem import apply_stem, plan_stem
from covtool.variants import HEADS

S = TypeVar("S", bound=Record)
Plan = Any  # each row's own: nothing but the row reads more of it than its `spec`


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """Circumstances of an operation, beside the model and the spec.

    Attributes:
        images: Images that the model expects.
        num_classes: Outputs of a new classifier; None for as many as now.
        new_classes: Whether the classes mean something else, even if there are as many.
        calibrated: Whether images set what is new.
        recorded: Whether the spec comes from a recipe: every choice in it was made before.
    """

    images: InputSpec
    num_classes: int | None = None
    new_classes: bool = False
    calibrated: bool = False
    recorded: bool = False


def _operation_alone(spec: Operation) -> OperationRecord:
    return OperationRecord(operation=spec.operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """An operation of a recipe: what it is, and everything that differs from the others.

    Attributes:
        name: Word for it in a recipe, the `operation` of its spec.
        summary: One line, with a full stop.
        source: Publication, or library, that it comes from.
        spec: Record that holds its parameters.
        plan: Function that looks for its place in a model and changes nothing. The `spec` of the
            plan goes into the recipe: with it, and `recorded`, the same plan is made again.
        apply: Function that returns a changed copy of the model.
        history: Function that returns its record for the history of a file.
        calibration: Whether images set it ``at once``, on the network as it is then, or ``last``,
            when all other operations are done; None for not at all.
        allows: Names of the operations that may follow; None for any that still has a place.
        after_calibration: Whether it works on the calibrated weights, and so is applied when the
            calibration is done. It should allow nothing that must be calibrated.
    """

    name: str
    summary: str
    source: str
    spec: type[Record]
    plan: Callable[[nn.Module, Any, PlanContext], Plan]
    apply: Callable[[nn.Module, Plan], nn.Module]
    history: Callable[[Any], OperationRecord] = _operation_alone
    calibration: Literal["at once", "last"] | None = None
    allows: frozenset[str] | None = None
    after_calibration: bool = False

    def rebuild(
        self, model: nn.Module, spec: Operation, images: InputSpec, *, num_classes: int
    ) -> nn.Module:
        """Return a copy of `model` on which an operation was done as its recipe says."""
        context = PlanContext(images=images, num_classes=num_classes, recorded=True)
        return self.apply(model, self.plan(model, spec, context))


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """An operation that was planned on a model.

    Attributes:
        row: The operation.
        plan: Plan of its row, with all that `apply` needs.
    """

    row: OperationRow
    plan: Plan

    @property
    def spec(self) -> Operation:
        """The operation as the recipe has it, with every choice made."""
        spec: Operation = self.plan.spec
        return spec

    def apply(self, model: nn.Module) -> nn.Module:
        """Return a changed copy of the model."""
        return self.row.apply(model, self.plan)


def plan_step(model: nn.Module, operation: Operation, context: PlanContext) -> PlannedOperation:
    """Plan an operation on a model, which is left as it is."""
    row = OPERATIONS[operation.operation]
    return PlannedOperation(row, row.plan(model, operation, context))


def of_kind(operations: Iterable[Operation], kind: type[S]) -> tuple[S, ...]:
    """Return the operations of one kind, in order."""
    return tuple(operation for operation in operations if isinstance(operation, kind))


def operation_record(operation: Operation) -> OperationRecord:
    """Return the record of an operation for a file's history; the recipe has all of it."""
    return OPERATIONS[operation.operation].history(operation)


def require_order(operations: Iterable[Operation]) -> None:
    """Refuse an order in which an operation follows one that does not allow it.

    Raises:
        ArgumentError: There is such an operation.
    """
    before: list[OperationRow] = []
    for name in (operation.operation for operation in operations):
        # All that came before, not only the last: an Eigenlayer allows nothing, however late.
        for row in before:
            if row.allows is not None and name not in row.allows:
                raise ArgumentError(
                    f"The operation {name} cannot follow {row.name}.",
                    reason=f"After {row.name} there may be {', '.join(sorted(row.allows))}."
                    if row.allows
                    else f"{row.name} must be the last operation.",
                    hint="Leave one of them out."
                    if name == row.name
                    else f"Put {name} in front of {row.name}.",
                )
        before.append(OPERATIONS[name])


def _plan_head(model: nn.Module, spec: HeadSpec, context: PlanContext) -> HeadPlan:
    # Principal directions can be computed for a linear reduction, not for one with a batch norm
    # and a ReLU behind it.
    if context.calibrated and spec.reduction is None and HEADS[spec.head].second_order:
        spec = spec.model_copy(update={"reduction": "linear"})
    return plan_head(
        model,
        spec,
        context.images,
        num_classes=context.num_classes,
        new_classes=context.new_classes,
        recorded=context.recorded,
    )


def _plan_convolutions(
    model: nn.Module, spec: ConvolutionSpec, context: PlanContext
) -> ConvolutionsPlan:
    if not context.recorded and spec.calibrated != context.calibrated:
        # An edited recipe: its unit and scale followed from how its own operators were set.
        changed = {"calibrated": context.calibrated, "unit": None, "scale_per": None}
        only = {"calibrated": context.calibrated}
        spec = spec.model_copy(update=changed if spec.layers else only)
    return plan_convolutions(model, spec, context.images, recorded=context.recorded)


def _convolutions_record(spec: ConvolutionSpec) -> OperationRecord:
    # The layers' names are in the recipe, and may be hundreds: their count is enough here.
    layers = len(spec.layers or ())
    return OperationRecord(operation=spec.operation, variant=spec.conv, layers=layers)


def _by_images(plan: Callable[..., Plan]) -> Callable[[nn.Module, Any, PlanContext], Plan]:
    """Adapt the plan of an operation that depends on the images and nothing else."""
    return lambda model, spec, context: plan(model, spec, context.images)


def _alone(plan: Callable[..., Plan]) -> Callable[[nn.Module, Any, PlanContext], Plan]:
    """Adapt the plan of an operation that depends on nothing but the model."""
    return lambda model, spec, context: plan(model, spec)


# In the order in which the name of an output mentions them.
OPERATIONS = Registry(
    "operation",
    [
        OperationRow(
            name="last-stride",
            summary="The last downsampling goes: twice the resolution of the last stage.",
            source='Sun et al. "Beyond Part Models", ECCV 2018; Luo et al., CVPRW 2019',
            spec=LastStrideSpec,
            plan=_by_images(plan_last_stride),
            apply=apply_last_stride,
        ),
        OperationRow(
            name="ibn",
            summary="Half of the channels of some batch norms get an instance norm.",
            source='Pan et al. "Two at Once", ECCV 2018',
            spec=InstanceBatchNormSpec,
            plan=_alone(plan_instance_batch_norm),
            apply=apply_instance_batch_norm,
        ),
        OperationRow(
            name="stem",
            summary="A ResNet's stem without its ReLU, or with another max pooling.",
            source="checkpoints of reid-strong-baseline (no ReLU) and fast-reid (pooling)",
            spec=StemSpec,
            plan=_alone(plan_stem),
            apply=apply_stem,
        ),
        OperationRow(
            name="patch-stride",
            summary="The patches of a vision transformer overlap.",
            source='He et al. "TransReID", ICCV 2021',
            spec=PatchStrideSpec,
            plan=_by_images(plan_patch_stride),
            apply=apply_patch_stride,
        ),
        OperationRow(
            name="conv",
            summary="Convolutions become other operators that keep their weights.",
            source='Liu et al. "Decoupled Networks", CVPR 2018',
            spec=ConvolutionSpec,
            plan=_plan_convolutions,
            apply=apply_convolutions,
            history=_convolutions_record,
            calibration="at once",
        ),
        OperationRow(
            name="head",
            summary="The global pooling and the classifier are replaced.",
            source="see `covtool.variants.HEADS`",
            spec=HeadSpec,
            plan=_plan_head,
            apply=apply_head,
            history=lambda spec: OperationRecord(operation="head", variant=spec.head),
            calibration="last",
        ),
        OperationRow(
            name="neck",
            summary="Layers are put between the pooling and a new classifier.",
            source='Luo et al. "Bag of Tricks and a Strong Baseline", CVPRW 2019',
            spec=NeckSpec,
            plan=_by_images(plan_neck),
            apply=apply_neck,
        ),
        OperationRow(
            name="eigenlayer",
            summary="A linear layer without bias is put in front of the classifier.",
            source='Sun et al. "SVDNet for Pedestrian Retrieval", ICCV 2017',
            spec=EigenlayerSpec,
            plan=_by_images(plan_eigenlayer),
            apply=apply_eigenlayer,
            history=lambda s: OperationRecord(operation="eigenlayer", features=s.features),
            allows=frozenset(),
            after_calibration=True,
        ),
    ],
)
