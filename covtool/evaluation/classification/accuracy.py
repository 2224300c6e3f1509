"""Accuracy of a classifier on labeled images."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool.backbones.device import sent_to
from covtool.backbones.module_modes import in_eval_mode
from covtool.errors import DataError, NonFiniteError, ShapeError
from covtool.evaluation.classification.probabilities import (
    ProbabilityCounts,
    ProbabilityFigures,
)
from covtool.ops.class_figures import class_figures, macro_means
from covtool.ops.confusion import Confusions, confusions
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A model, images (B, channels, height, width) and the right outputs (B,), to other images."""


class Receiver(Protocol):
    """Takes logits as they come."""

    def add(self, logits: Tensor, targets: Tensor, /) -> None:
        """Take a batch, (B, K) and (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """One class: how many images it has, and how many of them were recognized, in percent."""

    name: str
    images: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Images of the class `actual` that were taken for `predicted`."""

    actual: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationResult:
    """What `evaluate_classification` measured.

    Attributes:
        images: Number of images.
        top_1: Share of them whose class has the highest logit, in percent.
        top_5: Share whose class is among the five highest; None below six classes.
        loss: Mean cross entropy of the logits as they are, in nats.
        images_per_s: Throughput of the whole loop, reading the images included.
        class_names: Names of the model's outputs.
        targets: For each image, the model's output that would be right.
        predictions: For each image, the output with the highest logit; the first of equals.
        doubts: For each image, 1 - the probability of that output at the model's temperature.
        probabilities: Figures of the probabilities at that temperature.
        at_temperature_1: Figures of the probabilities of the logits as they are.
    """

    images: int
    top_1: float
    top_5: float | None
    loss: float
    images_per_s: float
    class_names: tuple[str, ...]
    targets: tuple[int, ...]
    predictions: tuple[int, ...]
    doubts: tuple[float, ...]
    probabilities: ProbabilityFigures
    at_temperature_1: ProbabilityFigures

    @property
    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """The classes that have images, in the order of the model's outputs."""
        targets, predictions = torch.tensor(self.targets), torch.tensor(self.predictions)
        figures = class_figures(targets, predictions, len(self.class_names))
        counts = zip(self.class_names, figures.images.tolist(), figures.right.tolist(), strict=True)
        return tuple(
            ClassAccuracy(name=name, images=images, accuracy=_percent(right, images))
            for name, images, right in counts
            if images
        )

    @property
    def macro(self) -> dict[str, float]:
        """Means of precision, recall and F1 over the classes that have images, in percent."""
        targets, predictions = torch.tensor(self.targets), torch.tensor(self.predictions)
        means = macro_means(targets, predictions, len(self.class_names))
        names = ("precision", "recall", "f1")
        return {name: 100 * mean for name, mean in zip(names, means, strict=True)}

    def most_confused(self, count: int) -> tuple[Confusion, ...]:
        """Return the `count` most confused pairs of classes; equals in the order of the outputs."""
        pairs = self.confusions().wrong.largest_first()
        columns = (column[:count].tolist() for column in (pairs.right, pairs.given, pairs.images))
        return tuple(
            Confusion(
                actual=self.class_names[actual],
                predicted=self.class_names[predicted],
                images=images,
            )
            for actual, predicted, images in zip(*columns, strict=True)
        )

    def confusions(self) -> Confusions:
        """Return the pairs of classes that occur, with their images: a matrix that is sparse."""
        targets, predictions = torch.tensor(self.targets), torch.tensor(self.predictions)
        return confusions(targets, predictions, len(self.class_names))

    def confusion_matrix(self) -> tuple[tuple[int, ...], ...]:
        """Return images of each actual class (rows) by predicted class (columns), K x K.

        Raises:
            ArgumentError: There are so many classes that `confusions` alone has them.
        """
        return tuple(map(tuple, self.confusions().matrix().tolist()))


def evaluate_classification(  # noqa: PLR0913 -- a measurement is a model, images, and how
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    class_names: Sequence[str] | None = None,
    label_map: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    track: Track = silent,
    perturb: Perturb | None = None,
    temperature: float = 1.0,
    keep: Receiver | None = None,
    processes: Processes = ALONE,
) -> ClassificationResult:
    """Run a classifier over labeled images and count what it gets right.

    Counts are exact, in integers. The model is moved to `device`, runs in eval mode, and its
    modules are left in the modes that they were in.

    Args:
        model: Images to logits, (B, K).
        loader: Images (B, channels, height, width) with labels (B,): those of this process, where
            several have a part each, in the order of their ranks.
        class_names: Names of the model's K outputs; by default their numbers.
        label_map: The model's output for each label of the data, as `match_classes` finds it;
            by default the label itself.
        device: Device that the model runs on.
        track: Display of the progress, batch by batch.
        perturb: Change of a batch's images before the model is measured on them; see
            `covtool.evaluation.classification.attacker.Attacker`.
        temperature: Number that logits are divided by before they become probabilities.
        keep: Receiver of this process's logits, batch by batch.
        processes: Processes that have parts of the images. All get the result of all images.

    Raises:
        DataError: There are no images, or a label is none of the outputs.
        NonFiniteError: A logit is not a number.
        ShapeError: The model does not return (B, K).
    """
    mapping = None if label_map is None else torch.tensor(label_map)  # on the CPU, as labels are
    model = model.to(device)
    batches = len(loader) if hasattr(loader, "__len__") else None
    start = time.perf_counter()

    def count() -> _Counts:
        counts = _Counts(temperature)
        for images, labels in track(loader, "attacking" if perturb else "evaluating", batches):
            targets = labels if mapping is None else mapping[labels]
            images = sent_to(device, images)
            if perturb is not None:  # needs gradients: outside of `no_grad`
                images = perturb(model, images, sent_to(device, targets))
            with torch.no_grad():
                logits = checked_logits(model(in_precision_of(model, images)), targets)
                counts.add(logits, sent_to(device, targets))
            if keep is not None:
                keep.add(logits, targets)
        return counts

    with in_eval_mode(model):
        counts = _Counts.of_all(processes.each(count))
    return counts.result(class_names, time.perf_counter() - start)


def in_precision_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return images as a model takes them: in half precision where its weights are."""
    parameter = next(model.parameters(), None)
    return images if parameter is None else images.to(parameter.dtype)


def checked_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return a model's output as logits in float32 or better, (B, K).

    Args:
        logits: Output of the model.
        targets: Outputs that would be right, (B,).

    Raises:
        DataError: A target is none of the outputs.
        NonFiniteError: A logit is not a number.
        ShapeError: There is no (B, K).
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ShapeError("The model's output must be one tensor of logits, (B, K).")
    if logits.isnan().any():
        raise NonFiniteError(
            "The model's logits are not numbers.",
            hint="covtool inspect says whether the weights hold non-finite values.",
        )
    # On a GPU an index out of range is an assertion of the device, after which nothing runs.
    if int(targets.max()) >= logits.shape[1]:
        raise DataError(
            f"A label is {int(targets.max())}, but the model has {logits.shape[1]} outputs."
        )
    # Cross entropy in half precision would be wrong in the third digit.
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class _Counts:
    """Sums over batches."""

    def __init__(self, temperature: float) -> None:
        self.targets: list[int] = []
        self.predictions: list[int] = []
        self.in_top_5 = 0
        # One a batch, not a running sum: rounding depends on the order, and the parts of several
        # processes are joined in the order that one process has.
        self.losses: list[float] = []
        self.num_classes = 0
        # Often the same temperature: then counted once.
        self.probabilities = [ProbabilityCounts(t) for t in dict.fromkeys((temperature, 1.0))]

    @classmethod
    def of_all(cls, parts: Iterable["_Counts"]) -> "_Counts":
        """Return the counts of all processes' images."""
        parts = list(parts)
        counts = cls(parts[0].probabilities[0].temperature)
        of_temperatures = zip(*(part.probabilities for part in parts), strict=True)
        counts.probabilities = [ProbabilityCounts.of_all(same) for same in of_temperatures]
        for part in parts:
            counts.targets += part.targets
            counts.predictions += part.predictions
            counts.in_top_5 += part.in_top_5
            counts.losses += part.losses
            counts.num_classes = max(counts.num_classes, part.num_classes)
        return counts

    def add(self, logits: Tensor, targets: Tensor) -> None:
        self.num_classes = logits.shape[1]
        self.targets += targets.tolist()
        self.predictions += logits.argmax(1).tolist()  # the first of equals, as `ranks_of` has it
        self.in_top_5 += int((ranks_of(logits, targets) < 5).sum())
        self.losses.append(float(F.cross_entropy(logits, targets, reduction="sum")))
        for counts in self.probabilities:
            counts.add(logits, targets)

    def result(self, class_names: Sequence[str] | None, seconds: float) -> ClassificationResult:
        images = len(self.targets)
        if not images:
            raise DataError("There are no images to evaluate on.")
        names = tuple(map(str, range(self.num_classes) if class_names is None else class_names))
        if len(names) != self.num_classes:
            raise DataError(
                f"There are {len(names)} class names, but the model has {self.num_classes} outputs."
            )
        right = [t == p for t, p in zip(self.targets, self.predictions, strict=True)]
        figures = [counts.result(torch.tensor(right)) for counts in self.probabilities]
        return ClassificationResult(
            images=images,
            top_1=_percent(sum(right), images),
            # Of five classes or fewer every image has its own among the first five.
            top_5=_percent(self.in_top_5, images) if self.num_classes > 5 else None,
            loss=sum(self.losses) / images,
            images_per_s=images / seconds,
            class_names=names,
            targets=tuple(self.targets),
            predictions=tuple(self.predictions),
            doubts=tuple(self.probabilities[0].doubts.rows.tolist()),
            probabilities=figures[0],
            at_temperature_1=figures[-1],
        )


def ranks_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how many classes come before the right one, (B,); of equals the lower index does."""
    of_target = logits.gather(1, targets[:, None])
    # `topk` promises no order among equals: figures would depend on the device.
    lower_index = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    return ((logits > of_target) | ((logits == of_target) & lower_index)).sum(1)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole
