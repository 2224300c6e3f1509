"""Provenance: where a model comes from, as a record of each step that made it.

What was trained, and since when, is decided from these fields; `phrase` says a step in words.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from covtool.printable import first_few
from covtool.specs.layout import LayoutSpec
from covtool.specs.operations import MOST_OPERATIONS
from covtool.specs.record import LongName, Name, Record
from covtool.specs.setting_bounds import LARGEST_NUMBER, LONGEST_TEXT

MOST_STEPS = 10_000
"""Commands that made a model."""

LONGEST_LINE = 8 * LONGEST_TEXT
"""Characters of a step's line in a file of version 1, which held names and settings of a run."""

MOST_SOURCES = 1_000
"""Models of an average."""

SHOWN_SOURCES = 6
"""Models of an average that are named in words."""

Untrained = Literal["network", "classifier"]
Since = Literal["ever", "conversion", "eigenlayer"]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Line = Annotated[str, Field(max_length=LONGEST_LINE)]
Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Epochs = Annotated[int, Field(ge=0, le=LARGEST_NUMBER * 10**6)]  # a sum of phases
Rate = Annotated[float, Field(allow_inf_nan=False)]


class CompactRecord(Record):
    """A record of which a file holds the fields that differ from their defaults."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        values: dict[str, Any] = dump(self)
        return {
            name: value
            for name, value in values.items()
            if name == "step"  # which says what record this is
            or getattr(self, name) != defaults[name]
        }


class OperationRecord(CompactRecord):
    """An operation of a conversion, as far as the history tells of it.

    Attributes:
        operation: Its word in a recipe.
        variant: Name of the head or of the convolutions' magnitude; None for others.
        layers: Convolutions that it replaced; None for others.
        features: Features of an Eigenlayer; None for others.
    """

    operation: Name
    variant: Name | None = None
    layers: Count | None = None
    features: Count | None = None


class IterationsRecord(CompactRecord):
    """Settings of restraint and relaxation iterations.

    Attributes:
        rates: Their learning rates.
        changed: Names and values of the others that are not as published, in order.
    """

    rates: Annotated[tuple[Rate, ...], Field(max_length=LONGEST_TEXT)] = ()
    changed: Annotated[tuple[tuple[Name, Name], ...], Field(max_length=MOST_OPERATIONS)] = ()


class _Step(CompactRecord):
    """Fields of every step.

    Attributes:
        text: Line of a file of version 1, where it says more than the other fields.
    """

    text: Line | None = None


class ConversionStep(_Step):
    """A conversion.

    Attributes:
        source: Name of the file or the model that was converted.
        operations: Operations that were done, in order; none for an import as it is.
        layout: Choices with which the data set was read.
        data: Name of the data set that it was calibrated on; None without one.
    """

    step: Literal["conversion"] = "conversion"
    source: Text
    operations: Annotated[tuple[OperationRecord, ...], Field(max_length=MOST_OPERATIONS)] = ()
    layout: LayoutSpec = LayoutSpec()
    data: Text | None = None


class TrainingStep(_Step):
    """A training.

    Attributes:
        command: Command that trained.
        data: Name of the data set; None where a file of version 1 does not say it.
        layout: Choices with which the data set was read.
        epochs: Epochs done; None where a file of version 1 does not say it.
        planned_epochs: Epochs that the run was to have.
        phase: Phase of SVDNet that the weights are of.
        opt: Optimizer.
        lr: Learning rate.
        iterations: Settings of the iterations of SVDNet; None for a run without.
        loss: Loss, as a sum of terms.
        sampler: Order of the images.
        centralized: Part of the gradients that was centralized; empty for none.
        head_schedule: Heads that took turns; empty for one.
        resolved_head: Whether the classifier is that of a ridge regression on the features of the
            end, and not the trained one.
    """

    step: Literal["training"] = "training"
    command: Literal["finetune", "svdnet-rri"]
    data: Text | None = None
    layout: LayoutSpec = LayoutSpec()
    epochs: Epochs | None = None
    planned_epochs: Epochs | None = None
    phase: Name | None = None
    opt: Text = ""
    lr: Rate | None = None
    iterations: IterationsRecord | None = None
    loss: Text = "ce"
    sampler: Name = "random"
    centralized: Name = ""
    head_schedule: Text = ""
    resolved_head: bool = False


class SavedStateStep(_Step):
    """A model that was taken out of a state of a run, which is training as well.

    Attributes:
        file: Name of the state.
        epochs: Epochs that the run had done.
    """

    step: Literal["saved-state"] = "saved-state"
    file: Text
    epochs: Epochs


class InitialWeightsStep(_Step):
    """Weights of a file that took the place of all others; nothing is trained by it.

    Attributes:
        file: Name of the file.
        trained: Whether it says that they were trained with the operations that the model has.
    """

    step: Literal["initial-weights"] = "initial-weights"
    file: Text
    trained: bool = False


class AverageSource(CompactRecord):
    """A model that an average was taken of.

    Attributes:
        name: Its name, without folders.
        weight: Share of the average, above 0 and at most 1.
        history: Its steps beyond those that all models of the average have, in words.
    """

    name: Text
    weight: Annotated[float, Field(ge=0, le=1)]
    history: Annotated[tuple[Line, ...], Field(max_length=MOST_STEPS)] = ()


class AverageStep(_Step):
    """An average of the weights of several models.

    The steps before it are those that all of them have. What their own histories say beyond is
    kept as answers: records of them inside this one could nest without end.

    Attributes:
        method: ``uniform``, ``weighted``, ``greedy`` (a soup of those that helped) or ``line``.
        sources: Models in it.
        left_out: Names of models that were tried and are not in it.
        data: Name of the data set, and the split, that sources or weights were chosen on; None
            where nothing was chosen.
        layout: Choices with which the data set was read.
        statistics: Name of the data set that the batch norms were estimated on anew; None for
            averages of theirs.
        trained: Answers that any of the sources gives: whether it was trained at all, since its
            last conversion, since it has an Eigenlayer.
        boxes: Whether the sources' last training was on cropped boxes; None without one, or where
            they differ.
    """

    step: Literal["average"] = "average"
    method: Literal["uniform", "weighted", "greedy", "line"]
    sources: Annotated[tuple[AverageSource, ...], Field(min_length=1, max_length=MOST_SOURCES)]
    left_out: Annotated[tuple[Text, ...], Field(max_length=MOST_SOURCES)] = ()
    data: Text | None = None
    layout: LayoutSpec = LayoutSpec()
    statistics: Text | None = None
    trained: Annotated[tuple[Since, ...], Field(max_length=3)] = ()
    boxes: bool | None = None


class OtherStep(_Step):
    """A line of a file of version 1 that no version of covtool is known to have written."""

    step: Literal["other"] = "other"
    text: Line


Step = Annotated[
    ConversionStep | TrainingStep | SavedStateStep | InitialWeightsStep | AverageStep | OtherStep,
    Field(discriminator="step"),
]


class Metric(Record):
    """A measured figure, with what it was measured on.

    Attributes:
        name: Lower-case name with underscores, for example ``top_1``; percent where it is a share.
        value: The figure.
        data: Name of the data set's folder or file, and the split.
        images: Number of images that it was measured on.
    """

    name: LongName
    value: float
    data: str
    images: int


class Provenance(Record):
    """Where a model comes from.

    Attributes:
        source: File name, or the name in its library, of what was read.
        source_sha256: Checksum of that file; None where there was no file.
        covtool_version: Version that wrote this.
        steps: Record of each command that made the model, oldest first.
        data: Name of the data set that it was calibrated or trained on.
        metrics: Figures that were measured.
        untrained: Parts whose weights are random still; none in files from before this was noted,
            of which it is not known.
    """

    source: str | None = None
    source_sha256: str | None = None
    covtool_version: str
    steps: Annotated[tuple[Step, ...], Field(max_length=MOST_STEPS)] = ()
    data: str | None = None
    metrics: tuple[Metric, ...] = ()
    untrained: tuple[Untrained, ...] = ()

    @property
    def history(self) -> tuple[str, ...]:
        """The steps in words, oldest first."""
        return tuple(map(phrase, self.steps))

    def with_step(self, step: Step, **changes: Any) -> "Provenance":
        """Return the same provenance with one more step, and with some fields changed."""
        return self.model_copy(update={**changes, "steps": (*self.steps, step)})


def phrase(step: Step) -> str:
    """Return what a step did, in a line for people.

    Example:
        >>> phrase(SavedStateStep(file="last.pt", epochs=3))
        'finetune: last.pt, the state after epoch 3'
    """
    # First: the line of an old file may say more than its fields.
    if step.text is not None:
        return step.text
    match step:
        case ConversionStep():
            done = ", ".join(map(_operation_phrase, step.operations)) or "imported"
            return f"convert {step.source}: {done}{step.layout.in_words()}"
        case TrainingStep():
            return f"{step.command} on {step.data}{step.layout.in_words()}: {_settings(step)}"
        case SavedStateStep():
            return f"finetune: {step.file}, the state after epoch {step.epochs}"
        case InitialWeightsStep():
            return f"finetune from the weights of {step.file}"
        case AverageStep():
            return _average_phrase(step)
    raise AssertionError(step)


def _operation_phrase(done: OperationRecord) -> str:
    if done.features is not None:
        return f"{done.operation} of {done.features}"
    if done.layers is not None:
        return f"{done.operation} {done.variant} in {done.layers} layers"
    return done.operation if done.variant is None else f"{done.operation} {done.variant}"


def _average_phrase(step: AverageStep) -> str:
    shares = len({source.weight for source in step.sources}) > 1 or step.method == "line"
    named = first_few(
        step.sources,
        SHOWN_SOURCES,
        show=lambda source: f"{source.weight:.4g} {source.name}" if shares else source.name,
    )
    words = [f"average, {step.method}: {named}"]
    if step.left_out:
        words.append(f"without {first_few(step.left_out, SHOWN_SOURCES)}")
    words += [f"chosen on {step.data}{step.layout.in_words()}"] if step.data else []
    words += [f"batch norms estimated on {step.statistics}"] if step.statistics else []
    return "; ".join(words)


def _settings(step: TrainingStep) -> str:
    words = [f"epoch {step.epochs} of {step.planned_epochs}"]
    words += [step.phase] if step.phase else []
    words += [step.opt, f"lr {0.0 if step.lr is None else step.lr:g}"]
    if step.iterations is not None:
        words.append(f"then {' '.join(f'{rate:g}' for rate in step.iterations.rates)}")
        words += [f"{name} {value}" for name, value in step.iterations.changed]
    words += [f"loss {step.loss}"] if step.loss != "ce" else []
    words += [f"sampler {step.sampler}"] if step.sampler != "random" else []
    if step.centralized:
        words.append(f"gradient centralization on the {step.centralized}")
    words += [f"heads {step.head_schedule}"] if step.head_schedule else []
    words += ["classifier solved anew"] if step.resolved_head else []
    return ", ".join(words)
