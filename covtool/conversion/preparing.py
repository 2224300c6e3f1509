"""Everything of a conversion but the head's calibration and the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from covtool import __version__
from covtool.atomic import require_model_name, require_writable
from covtool.checkpoints.file_kinds import stem_of
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.published import UNTOLD_ITERATIONS, UNTOLD_META_LAYER
from covtool.checkpoints.published_import import imported_as_it_is, imported_head
from covtool.conversion.calibrating import (
    CalibrationImages,
    calibrate_convolutions,
    calibration_images,
    measure_agreement,
    notes_on_images,
)
from covtool.conversion.notes import notes_on, notes_on_eigenlayer, starts_at_random
from covtool.conversion.records import ConversionPlan, ConversionRequest, ConvolutionsReport
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.datasets.retrieval.reading import read_classes
from covtool.errors import ArgumentError
from covtool.evaluation.classification.class_matching import classes_stay
from covtool.full_paths import in_full
from covtool.processes import current
from covtool.progress import Track
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    LastStrideSpec,
    NeckSpec,
    Operation,
    Recipe,
    Untrained,
)
from covtool.surgery.convolutions import apply_convolutions, plan_convolutions
from covtool.surgery.eigenlayer import EigenlayerPlan, apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import HeadPlan, apply_head, plan_head
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride
from covtool.surgery.rebuild import operate, rebuild
from covtool.surgery.report import compare_keys, compare_modules, measure_size
from covtool.variants import HEADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A conversion that is planned and done in memory.

    Attributes:
        plan: What was done.
        opened: The source.
        model: The operated copy, on the CPU, in eval mode; without its Eigenlayer, which is put in
            when the head is calibrated.
        layout: Of the data set that says the classes; None without one.
        images: To calibrate with; None without.
    """

    plan: ConversionPlan
    opened: OpenedModel
    model: nn.Module
    layout: DataLayout | None
    images: CalibrationImages | None


def prepare(request: ConversionRequest, track: Track, *, writes: bool = True) -> Prepared:
    """Open the source and operate on it.

    Args:
        request: What is asked for.
        track: Shows the progress.
        writes: Whether the output is to be written; a plan does not mind what is there.

    Raises:
        CovtoolError: As `covtool.conversion.convert`.
    """
    output = request.output or _default_output(request)
    _refuse(request)
    require_model_name(output)
    if writes:  # looked at before the first process writes
        current().main(lambda: require_writable(output, overwrite=request.overwrite))
    data = request.classes_from or request.calibrate_with
    layout = read_classes(data, choice=request.layout) if data else None
    heads = [o for o in request.operations if isinstance(o, HeadSpec)]
    iterations = _iterations(heads) or request.source.iterations
    opened = open_model(request.source, iterations=iterations)
    if opened.is_foreign and _is_import(opened.recipe.operations, request):
        return _import(opened, request, output)
    if layout is not None:
        layout = in_order_of(layout, opened.recipe.class_names or ())
    images = None
    if request.calibrate_with:
        images = calibration_images(request, layout, track)
    done = _Operated(opened, request, layout, images, track)
    complete = with_eigenlayer(done.model, done.eigenlayer, request.spec.seed)
    recipe = _recipe(opened.recipe, done, layout, request)
    calibrated = images is not None
    plan = ConversionPlan(
        source=request.source.name,
        output=output,
        recipe=recipe,
        head=done.head,
        convolutions=tuple(done.convolutions),
        eigenlayer=done.eigenlayer,
        changes=compare_modules(opened.model, complete),
        keys=compare_keys(opened.model, complete, written=_yet_to_be_written(done, calibrated)),
        before=measure_size(opened.model, recipe.input),
        after=measure_size(complete, recipe.input),
        notes=(
            *opened.notes,
            *notes_on(done.head, done.convolutions, calibrated=calibrated),
            *notes_on_eigenlayer(done.eigenlayer),
            *notes_on_images(layout, images, exif=opened.recipe.input.exif),
        ),
        unreadable=images.unreadable if images else (),
        random=tuple(
            dict.fromkeys(starts_at_random(done.head, done.eigenlayer, calibrated=calibrated))
        ),
    )
    return Prepared(plan=plan, opened=opened, model=done.model, layout=layout, images=images)


def with_eigenlayer(model: nn.Module, plan: EigenlayerPlan | None, seed: int) -> nn.Module:
    """Return the model with the Eigenlayer that is planned, if one is."""
    if plan is None:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return apply_eigenlayer(model, plan).eval()


def _refuse(request: ConversionRequest) -> None:
    if not request.operations:
        raise ArgumentError(
            "There is nothing to do.",
            hint="Choose a head, --head isqrt, operators, --conv tanh, or --eigenlayer 1024.",
        )
    calibrated = (HeadSpec, ConvolutionSpec)
    if request.calibrate_with and not any(isinstance(o, calibrated) for o in request.operations):
        raise ArgumentError(
            "Only a new head and operators can be calibrated.",
            hint="Add --head isqrt or --conv tanh.",
        )
    has_head = any(isinstance(o, HeadSpec) for o in request.operations)
    if not has_head and (request.classes_from or request.spec.num_classes):
        raise ArgumentError(
            "--data and --num-classes are for a new classifier, and the head stays.",
            hint="Add --head gap for a new one, or leave them out.",
        )


def _iterations(heads: list[HeadSpec]) -> int | None:
    """What somebody asked for; None where it is the default, so that the assumption is said."""
    asked = heads[0].iterations if heads else None
    return None if asked == HeadSpec.model_fields["iterations"].default else asked


def _is_import(own: Sequence[Operation], request: ConversionRequest) -> bool:
    """Return whether a file of another program becomes a covtool file with the head that it has.

    A published covariance head can only be imported. A pooling with a neck behind it can also be
    replaced: it is imported where that very pooling is asked for, and no other classes are.
    """
    heads = [o.head for o in own if isinstance(o, HeadSpec)]
    if not any(isinstance(o, NeckSpec) for o in own):
        return bool(heads)
    anew = request.classes_from or request.calibrate_with or request.spec.num_classes
    asked = list(request.operations)
    return not anew and asked == [HeadSpec(head=heads[0] if heads else "gap")]


def _import(opened: OpenedModel, request: ConversionRequest, output: Path) -> Prepared:
    """Return a network of another program becomes a covtool file as it is: it has its head already.

    Raises:
        ArgumentError: Something else is asked for than what its weights were trained with.
    """
    own = next((o for o in opened.recipe.operations if isinstance(o, HeadSpec)), None)
    others = [o for o in request.operations if not isinstance(o, HeadSpec)]
    if others or request.classes_from or request.calibrate_with or request.spec.num_classes:
        raise imported_as_it_is(
            request.source.name, "--conv, --last-stride, --data, --calibrate and --num-classes"
        )
    asked = next((o for o in request.operations if isinstance(o, HeadSpec)), HeadSpec())
    spec = own and imported_head(request.source.name, own, asked)
    provenance = opened.recipe.provenance.model_copy(
        update={"history": (f"convert {Path(request.source.name).name}: imported",)}
    )
    operations = tuple(spec if o is own else o for o in opened.recipe.operations)
    recipe = opened.recipe.model_copy(update={"provenance": provenance, "operations": operations})
    model, notes = opened.model, opened.notes
    if spec != own:
        model = rebuild(recipe)
        model.load_state_dict(opened.model.state_dict())
        assumed = (UNTOLD_META_LAYER, UNTOLD_ITERATIONS) if spec.head != own.head else ()
        kept = (note for note in notes if not note.startswith(assumed))
        notes = (*kept, f"The meta-layer is {spec.head}, as asked for.")
    plan = ConversionPlan(
        source=request.source.name,
        output=output,
        recipe=recipe,
        head=None,
        changes=compare_modules(opened.model, model),
        keys=compare_keys(opened.model, model),
        before=measure_size(opened.model, recipe.input),
        after=measure_size(model, recipe.input),
        notes=notes,
    )
    return Prepared(plan=plan, opened=opened, model=model, layout=None, images=None)


class _Operated:
    """The copy of a source on which all operations of a request were done, one after the other.

    Attributes:
        model: The copy, in eval mode.
        operations: Those that were done, with every choice made.
        head: Plan of the head; None where it stays.
        eigenlayer: Plan of the Eigenlayer, which is not in the copy yet; None without one.
        convolutions: What became of the convolutions, for each such operation.
    """

    def __init__(
        self,
        opened: OpenedModel,
        request: ConversionRequest,
        layout: DataLayout | None,
        images: CalibrationImages | None,
        track: Track,
    ) -> None:
        self.model, self.recipe = opened.model, opened.recipe
        self.operations: list[Operation] = []
        self.head: HeadPlan | None = None
        self.eigenlayer: EigenlayerPlan | None = None
        self.convolutions: list[ConvolutionsReport] = []
        self._request, self._layout, self._images, self._track = request, layout, images, track
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.spec.seed)
            for operation in request.operations:
                self._operate(operation)
        self.model.eval()

    def _operate(self, operation: Operation) -> None:
        images = self.recipe.input
        if self.eigenlayer is not None:
            raise ArgumentError("The Eigenlayer must be the last operation.")
        if isinstance(operation, LastStrideSpec):
            plan = plan_last_stride(self.model, operation, images)
            self.model = apply_last_stride(self.model, plan)
            self.operations.append(operation)
        elif isinstance(operation, ConvolutionSpec):
            self._convert(operation)
        elif isinstance(operation, EigenlayerSpec):
            self.eigenlayer = plan_eigenlayer(self.model, operation, images)
            self.operations.append(operation)
        elif isinstance(operation, HeadSpec):
            self.head = self._plan_head(operation)
            self.model = apply_head(self.model, self.head)
            self.operations.append(self.head.spec)
        else:
            classes = self.head.num_classes if self.head else self.recipe.num_classes
            self.model = operate(self.model, operation, images, num_classes=classes)
            self.operations.append(operation)

    def _convert(self, spec: ConvolutionSpec) -> None:
        calibrated = self._images is not None
        if spec.calibrated != calibrated:  # a recipe's choices that followed from the other case
            changed = {"calibrated": calibrated, "unit": None, "scale_per": None}
            spec = spec.model_copy(update=changed if spec.layers else {"calibrated": calibrated})
        plan = plan_convolutions(self.model, spec, self.recipe.input)
        models = self.model, apply_convolutions(self.model, plan).eval()
        self.model, calibration, kept = models[1], None, None
        if calibrated:
            others = self.recipe, self._request, self._track
            calibration = calibrate_convolutions(models, plan, self._images, *others)
            if self.head is None:  # a new classifier knows nothing yet
                kept = measure_agreement(models, self._images, *others)
        self.convolutions.append(ConvolutionsReport(plan=plan, calibration=calibration, kept=kept))
        self.operations.append(plan.spec)

    def _keeps(self, names: tuple[str, ...]) -> bool:
        """Return whether the model's classes certainly are the data's."""
        return classes_stay(self.recipe.class_names, names, self.recipe.num_classes)

    def _plan_head(self, spec: HeadSpec) -> HeadPlan:
        calibrated = self._request.calibrate_with
        if spec.reduction is None and calibrated and HEADS[spec.head].second_order:
            spec = spec.model_copy(update={"reduction": "linear"})
        names = self._layout.class_names if self._layout else None
        asked = self._request.spec.num_classes
        if names and asked and asked != len(names):
            raise ArgumentError(
                f"--num-classes {asked} does not fit the data, which has {len(names)} classes."
            )
        return plan_head(
            self.model,
            spec,
            self.recipe.input,
            num_classes=len(names) if names else asked,
            new_classes=names is not None and not self._keeps(names),
        )


def _yet_to_be_written(done: _Operated, calibrated: bool) -> tuple[str, ...]:
    """Return modules that calibration sets after the plan."""
    return (done.head.sites.classifier,) if calibrated and done.head is not None else ()


def _recipe(
    source: Recipe, done: _Operated, layout: DataLayout | None, request: ConversionRequest
) -> Recipe:
    names, head = source.class_names, done.head
    if head is not None and not head.keeps_classifier:
        names = layout.class_names if layout else None
    line = f"convert {Path(request.source.name).name}: " + ", ".join(
        map(_in_words, done.operations)
    )
    line += request.layout.in_words()
    calibrated = request.calibrate_with
    provenance = source.provenance.model_copy(
        update={
            "covtool_version": __version__,
            "history": (*source.provenance.history, line),
            "data": in_full(calibrated).name if calibrated else source.provenance.data,
            "metrics": (),
            "untrained": _untrained(source, done, calibrated=bool(calibrated)),
        }
    )
    return source.model_copy(
        update={
            "operations": (*_lasting(source, head), *done.operations),
            "num_classes": head.num_classes if head else source.num_classes,
            "class_names": names,
            "provenance": provenance,
        }
    )


def _untrained(source: Recipe, done: _Operated, *, calibrated: bool) -> tuple[Untrained, ...]:
    """Return parts that are random after the operations."""
    found = set(source.provenance.untrained)
    if done.head is not None and not done.head.keeps_classifier:
        found.discard("classifier")
        found |= set() if calibrated else {"classifier"}
    if done.eigenlayer is not None and done.eigenlayer.spec.init == "random":
        found.add("classifier")
    return tuple(sorted(found))


def _lasting(source: Recipe, head: HeadPlan | None) -> tuple[Operation, ...]:
    """The operations of a source, without an average that was its own and is replaced now."""
    if head is None:
        return source.operations
    return tuple(o for o in source.operations if not (isinstance(o, HeadSpec) and o.own_average))


def _in_words(operation: Operation) -> str:
    if isinstance(operation, HeadSpec):
        return f"head {operation.head}"
    if isinstance(operation, ConvolutionSpec):
        return f"conv {operation.conv} in {len(operation.layers or ())} layers"
    if isinstance(operation, EigenlayerSpec):
        return f"eigenlayer of {operation.features}"
    return operation.operation


def _default_output(request: ConversionRequest) -> Path:
    done = [o.conv for o in request.operations if isinstance(o, ConvolutionSpec)]
    done += [o.head for o in request.operations if isinstance(o, HeadSpec)]
    done += [f"eigen{o.features}" for o in request.operations if isinstance(o, EigenlayerSpec)]
    return Path(f"{stem_of(request.source.name)}-{'-'.join(done) or 'converted'}.safetensors")
