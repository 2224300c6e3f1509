"""From a checkpoint to a covtool file: open, plan, operate, calibrate, write, verify."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from covtool import __version__
from covtool.backbones.device import resolve_device
from covtool.checkpoints.file_kinds import stem_of
from covtool.checkpoints.model_file import load, save
from covtool.checkpoints.opening import OpenedModel, open_model
from covtool.checkpoints.published_import import imported_as_it_is, imported_head
from covtool.data.checking import check_images
from covtool.data.layouts import DataLayout, Sample, scan
from covtool.data.loaders import evaluation_loader
from covtool.data.subsets import draw_evenly
from covtool.errors import ArgumentError, OutputExistsError, VerificationError
from covtool.progress import Track, silent
from covtool.specs import (
    ConvertSpec,
    HeadSpec,
    InputSpec,
    LastStrideSpec,
    Metric,
    Operation,
    Recipe,
)
from covtool.surgery.calibration import CalibrationResult, calibrate_head_
from covtool.surgery.head import HeadPlan, apply_head, plan_head
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride
from covtool.surgery.rebuild import rebuild
from covtool.surgery.report import (
    Change,
    KeyChanges,
    Size,
    compare_keys,
    compare_modules,
    measure_size,
)
from covtool.variants import HEADS

_OUTPUT_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What to convert, and how.

    Attributes:
        source: A file or a name; see `covtool.open_model`.
        operations: What to do, in order.
        spec: Number of classes, calibration, seed.
        output: File to write; None for ``<stem>-<head>.safetensors`` in the current folder.
        overwrite: Replace an existing output.
        classes_from: Data set whose classes the new classifier gets; None for those of
            `calibrate_with`, or none.
        calibrate_with: Data set whose training images calibrate the head; None for none.
        arch: Architecture, where the tensors leave a choice.
        weights: ``auto``, ``ema`` or ``raw``.
        input_overrides: Fields of `InputSpec` to replace.
        pretrained: Fetch the weights of a name; False starts at random.
        batch_size: Images at once while calibrating.
        workers: Processes that load them.
        device: Where to compute: ``auto``, ``cpu``, ``cuda``.
        on_bad_image: ``error`` or ``skip``.
    """

    source: str
    operations: Sequence[Operation]
    spec: ConvertSpec = field(default_factory=ConvertSpec)
    output: Path | None = None
    overwrite: bool = False
    classes_from: Path | None = None
    calibrate_with: Path | None = None
    arch: str | None = None
    weights: str = "auto"
    input_overrides: dict[str, object] = field(default_factory=dict)
    pretrained: bool = True
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    on_bad_image: str = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """What a conversion will do, or did.

    Attributes:
        source: What was read.
        output: The file to write.
        recipe: Of that file.
        head: How the head is replaced; None where it stays.
        changes: Modules that differ.
        keys: Tensors that stay, come and go.
        before: Cost of the source model.
        after: Cost of the new one.
        notes: What is worth knowing about the source, or about the result.
    """

    source: str
    output: Path
    recipe: Recipe
    head: HeadPlan | None
    changes: tuple[Change, ...]
    keys: KeyChanges
    before: Size
    after: Size
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """What was written.

    Attributes:
        plan: What was done.
        path: The file.
        calibration: None where there was none.
        untouched: Tensors that were verified to be byte for byte those of the source.
        unreadable: Images that were left out, with the reason.
    """

    plan: ConversionPlan
    path: Path
    calibration: CalibrationResult | None
    untouched: int
    unreadable: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    plan: ConversionPlan
    opened: OpenedModel
    model: nn.Module
    layout: DataLayout | None


def plan_conversion(request: ConversionRequest) -> ConversionPlan:
    """What `convert` would do; writes nothing.

    Raises:
        CovtoolError: As `convert`.
    """
    return _prepare(request).plan


def convert(request: ConversionRequest, *, track: Track = silent) -> ConversionResult:
    """Replace parts of a model, keep its weights, write one self-describing file.

    The file is read back before it gets its name: tensors that no operation touches must be byte
    for byte those of the source, and the reloaded model must answer like the one in memory.

    Raises:
        CheckpointError: The source cannot be read or recognized.
        SurgeryError: The model cannot be operated on like that.
        DataError: The data cannot be used.
        OutputExistsError: The output exists.
        VerificationError: The file does not hold what it should; it is removed.
    """
    prepared = _prepare(request)
    plan, model = prepared.plan, prepared.model
    calibration, unreadable = None, ()
    if request.calibrate_with is not None:
        calibration, unreadable = _calibrate(model, prepared, request, track)
    model.recipe = _with_metrics(plan.recipe, calibration, prepared.layout)
    untouched = _untouched(plan)
    save(
        model.cpu(),
        plan.output,
        overwrite=request.overwrite,
        verify=lambda path: _verify(path, model, prepared.opened.model, untouched),
    )
    return ConversionResult(
        plan=plan,
        path=plan.output,
        calibration=calibration,
        untouched=len(untouched),
        unreadable=unreadable,
    )


def _prepare(request: ConversionRequest) -> _Prepared:
    if not request.operations:
        raise ArgumentError("There is nothing to do.", hint="Choose a head: --head isqrt.")
    heads = [o for o in request.operations if isinstance(o, HeadSpec)]
    if request.calibrate_with and not heads:
        raise ArgumentError("Only a new head can be calibrated.", hint="Add --head isqrt.")
    output = request.output or _default_output(request.source, heads)
    if output.exists() and not request.overwrite:
        raise OutputExistsError(output)
    if not output.parent.is_dir():
        raise ArgumentError(f"There is no folder {output.parent} to write to.")
    data = request.classes_from or request.calibrate_with
    layout = scan(data) if data else None
    opened = open_model(
        request.source,
        arch=request.arch,
        weights=request.weights,
        pretrained=request.pretrained,
        input_overrides=request.input_overrides,
        iterations=_iterations(heads),
    )
    if any(isinstance(o, HeadSpec) for o in opened.recipe.operations) and opened.is_foreign:
        return _import(opened, request, output)
    model, done, head = _operate(opened, request, layout)
    recipe = _recipe(opened.recipe, done, head, layout, request)
    plan = ConversionPlan(
        source=request.source,
        output=output,
        recipe=recipe,
        head=head,
        changes=compare_modules(opened.model, model),
        keys=compare_keys(opened.model, model),
        before=measure_size(opened.model, recipe.input),
        after=measure_size(model, recipe.input),
        notes=(*opened.notes, *_notes(head, calibrated=request.calibrate_with is not None)),
    )
    return _Prepared(plan=plan, opened=opened, model=model, layout=layout)


def _iterations(heads: list[HeadSpec]) -> int | None:
    """What somebody asked for; None where it is the default, so that the assumption is said."""
    asked = heads[0].iterations if heads else None
    return None if asked == HeadSpec.model_fields["iterations"].default else asked


def _import(opened: OpenedModel, request: ConversionRequest, output: Path) -> _Prepared:
    """A published covariance network becomes a covtool file as it is: it has its head already.

    Raises:
        ArgumentError: Something else is asked for than what its weights were trained with.
    """
    own = next(o for o in opened.recipe.operations if isinstance(o, HeadSpec))
    others = [o for o in request.operations if not isinstance(o, HeadSpec)]
    if others or request.classes_from or request.calibrate_with or request.spec.num_classes:
        raise imported_as_it_is(
            request.source, "--last-stride, --data, --calibrate and --num-classes"
        )
    asked = next((o for o in request.operations if isinstance(o, HeadSpec)), HeadSpec())
    spec = imported_head(request.source, own, asked)
    provenance = opened.recipe.provenance.model_copy(
        update={"history": (f"convert {Path(request.source).name}: imported",)}
    )
    operations = tuple(spec if o is own else o for o in opened.recipe.operations)
    recipe = opened.recipe.model_copy(update={"provenance": provenance, "operations": operations})
    model, notes = opened.model, opened.notes
    if spec != own:
        model = rebuild(recipe)
        model.load_state_dict(opened.model.state_dict())
        notes = (*notes, f"The root is computed by {spec.head}, as asked for.")
    plan = ConversionPlan(
        source=request.source,
        output=output,
        recipe=recipe,
        head=None,
        changes=compare_modules(opened.model, model),
        keys=compare_keys(opened.model, model),
        before=measure_size(opened.model, recipe.input),
        after=measure_size(model, recipe.input),
        notes=notes,
    )
    return _Prepared(plan=plan, opened=opened, model=model, layout=None)


def _operate(
    opened: OpenedModel, request: ConversionRequest, layout: DataLayout | None
) -> tuple[nn.Module, list[Operation], HeadPlan | None]:
    """The operated copy, the operations with every choice made, the plan of the head."""
    model, images = opened.model, opened.recipe.input
    done: list[Operation] = []
    head = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.spec.seed)
        for operation in request.operations:
            if isinstance(operation, LastStrideSpec):
                model = apply_last_stride(model, plan_last_stride(model, operation, images))
                done.append(operation)
            else:
                head = _plan_head(model, operation, images, opened.recipe, request, layout)
                model = apply_head(model, head)
                done.append(head.spec)
    return model.eval(), done, head


def _plan_head(
    model: nn.Module,
    spec: HeadSpec,
    images: InputSpec,
    source: Recipe,
    request: ConversionRequest,
    layout: DataLayout | None,
) -> HeadPlan:
    if spec.reduction is None and request.calibrate_with and HEADS[spec.head].second_order:
        spec = spec.model_copy(update={"reduction": "linear"})
    names = layout.class_names if layout else None
    asked = request.spec.num_classes
    if names and asked and asked != len(names):
        raise ArgumentError(
            f"--num-classes {asked} does not fit the data, which has {len(names)} classes."
        )
    return plan_head(
        model,
        spec,
        images,
        num_classes=len(names) if names else asked,
        new_classes=names is not None and names != source.class_names,
    )


def _recipe(
    source: Recipe,
    done: list[Operation],
    head: HeadPlan | None,
    layout: DataLayout | None,
    request: ConversionRequest,
) -> Recipe:
    names = source.class_names
    if head is not None and not head.keeps_classifier:
        names = layout.class_names if layout else None
    line = f"convert {Path(request.source).name}: " + ", ".join(
        f"{o.operation} {o.head}" if isinstance(o, HeadSpec) else o.operation for o in done
    )
    calibrated = request.calibrate_with
    provenance = source.provenance.model_copy(
        update={
            "covtool_version": __version__,
            "history": (*source.provenance.history, line),
            "data": calibrated.resolve().name if calibrated else source.provenance.data,
            "metrics": (),
        }
    )
    return source.model_copy(
        update={
            "operations": (*source.operations, *done),
            "num_classes": head.num_classes if head else source.num_classes,
            "class_names": names,
            "provenance": provenance,
        }
    )


def _notes(head: HeadPlan | None, *, calibrated: bool) -> list[str]:
    if head is None:
        return []
    notes = []
    if head.rank is not None and head.rank < min(head.spec.dim, head.tap.channels):
        notes.append(
            f"The covariance has rank {head.rank} at most: {head.tap.positions} positions. "
            "More positions come from --last-stride 1, larger images, or an earlier --tap."
        )
    if head.spec.post_norm not in (head.spec.pre_norm, "batchnorm"):
        notes.append(
            f"--pre-norm {head.spec.pre_norm} with --post-norm {head.spec.post_norm} gives no "
            "square root of the covariance, but a multiple of it that differs by image."
        )
    if not calibrated and not head.keeps_classifier:
        notes.append(
            "The new classifier starts at random: fine-tune it, or convert with --calibrate DIR."
        )
    return notes


def _calibrate(
    model: nn.Module, prepared: _Prepared, request: ConversionRequest, track: Track
) -> tuple[CalibrationResult, tuple[tuple[Path, str], ...]]:
    samples = _calibration_samples(request, prepared.layout)
    checked = check_images(samples, on_bad_image=request.on_bad_image, track=track)
    loader = evaluation_loader(
        checked.good,
        prepared.plan.recipe.input,
        batch_size=request.batch_size,
        workers=request.workers,
    )
    result = calibrate_head_(
        model.to(resolve_device(request.device)),
        prepared.plan.head,
        loader,
        num_images=len(checked.good),
        memory_gib=request.spec.calibrate_memory,
        track=track,
    )
    return result, checked.bad


def _calibration_samples(request: ConversionRequest, layout: DataLayout) -> tuple[Sample, ...]:
    own = scan(request.calibrate_with) if request.classes_from else layout
    if own.class_names != layout.class_names:
        raise ArgumentError("--data and --calibrate have different classes.")
    return draw_evenly(own.samples("train"), request.spec.calibrate_images, seed=request.spec.seed)


def _with_metrics(
    recipe: Recipe, calibration: CalibrationResult | None, layout: DataLayout | None
) -> Recipe:
    if calibration is None:
        return recipe
    metric = Metric(
        name="left_out_top_1",
        value=calibration.left_out_top_1,
        data=f"{layout.name} train",
        images=calibration.images,
    )
    provenance = recipe.provenance.model_copy(update={"metrics": (metric,)})
    return recipe.model_copy(update={"provenance": provenance})


def _untouched(plan: ConversionPlan) -> tuple[str, ...]:
    if plan.head is None:
        return plan.keys.kept
    classifier = plan.head.sites.classifier + "."
    return tuple(name for name in plan.keys.kept if not name.startswith(classifier))


def _verify(path: Path, model: nn.Module, source: nn.Module, untouched: Sequence[str]) -> None:
    reloaded = load(path)
    before, after = source.state_dict(), reloaded.state_dict()
    for name in untouched:
        if not _same_bytes(before[name], after[name]):
            raise VerificationError(f"{name!r} is not what it was in the source; nothing written.")
    images = reloaded.recipe.input
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, images.channels, *images.size, generator=generator)
    image = image.to(next(model.parameters()).dtype)
    with torch.no_grad():
        expected, got = model(image), reloaded(image)
    if not torch.allclose(expected, got, rtol=_OUTPUT_TOLERANCE, atol=_OUTPUT_TOLERANCE):
        worst = (expected - got).abs().max().item()
        raise VerificationError(
            f"The reloaded model answers differently, by up to {worst:.2g}; nothing was written.",
            hint="Please report this, with the output of covtool inspect on the source.",
        )


def _same_bytes(first: Tensor, second: Tensor) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    as_bytes = [t.contiguous().flatten().view(torch.uint8) for t in (first, second)]
    return torch.equal(*as_bytes)


def _default_output(source: str, heads: list[HeadSpec]) -> Path:
    done = heads[0].head if heads else "converted"
    return Path(f"{stem_of(source)}-{done}.safetensors")
