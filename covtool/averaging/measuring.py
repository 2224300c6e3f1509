"""Labeled images that many models in memory are measured on, read and checked once."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from covtool.averaging.records import AverageRequest, Measured
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.images.dim import note_on_dim
from covtool.data.images.orientation import note_on_turned
from covtool.data.loading.loaders import evaluation_loader
from covtool.data.loading.worker_death import translate_worker_death
from covtool.errors import DataError
from covtool.evaluation.classification.accuracy import evaluate_classification
from covtool.evaluation.classification.class_matching import match_classes
from covtool.evaluation.classification.held_out import (
    HeldOutLogits,
    note_on_temperature,
    score_spec,
)
from covtool.ops.temperature import fit_held_out
from covtool.progress import Track
from covtool.specs import InputSpec, Recipe, ScoreSpec

FLOAT_BYTES = 4
LARGEST_KEPT = 1 << 30
"""Bytes of prepared images that are kept; more are read from their files for each model."""

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledImages:
    """Images of a data set, with how they are read.

    Attributes:
        layout: The data set.
        samples: The images that can be read.
        data: Name of the data set, and the split.
        is_training: Whether they are the training images of the data set.
        request: Request with batches, workers and the choices in reading.
        device: Device that models run on.
        track: Display of the progress.
        unreadable: File and reason of images that were left out; grows while records are read.
        turned: Number of images that their EXIF data turn.
        dim: Number of images that are nearly black.
        kept: Batches of prepared images; empty where they are too many to keep.
    """

    layout: DataLayout
    samples: Sequence[Sample]
    data: str
    is_training: bool
    request: AverageRequest
    device: torch.device
    track: Track
    unreadable: dict[Path, str] = field(default_factory=dict)
    turned: int = 0
    dim: int = 0
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, request: AverageRequest, device: torch.device, track: Track) -> "LabeledImages":
        """Read the data set of a request and check its images.

        Raises:
            DataError: It cannot be read, or has only training images and no split is chosen.
        """
        layout = scan(request.data, choice=request.layout)
        samples, split = _held_out(layout, request.split)
        checked = check_images(samples, on_bad_image=request.on_bad_image, track=track)
        return cls(
            layout=layout,
            samples=checked.good,
            data=f"{layout.name} {split}",
            is_training=samples is layout.splits.get("train"),
            request=request,
            device=device,
            track=track,
            unreadable=dict(checked.bad),
            turned=checked.turned,
            dim=checked.dim,
        )

    def measure(self, model: nn.Module, recipe: Recipe) -> Measured:
        """Return the figures of a model.

        Raises:
            DataError: Its classes are not those of the data, or only a guess says that they are.
            NonFiniteError: A logit is not a number.
        """
        match = match_classes(recipe.class_names, self.layout.class_names, recipe.num_classes)
        if match.order == "guessed":
            raise DataError(
                "Nothing says which output stands for which class of the data.",
                reason="Models have no class names; an average chosen by a guess would be one.",
                hint="Average without --data, or give them names: covtool convert or finetune.",
            )
        keep = HeldOutLogits(len(self.samples), recipe.num_classes)
        with translate_worker_death(self.request.workers):
            found = evaluate_classification(
                in_float32(model),
                self._batches(recipe.input),
                class_names=match.names,
                label_map=match.label_map,
                device=self.device,
                track=self.track,
                keep=keep,
            )
        return Measured(
            top_1=found.top_1,
            loss=found.loss,
            images=found.images,
            data=self.data,
            scores=self._scores(keep),
        )

    def _scores(self, kept: HeldOutLogits) -> ScoreSpec | None:
        """Return the temperature of predictions; None from images that may be trained on."""
        if self.is_training:
            return None
        return score_spec(fit_held_out(kept.logits, kept.labels), "validation", self.data)

    def _batches(self, input: InputSpec) -> Batches:
        """Return the prepared images, which all models take: kept where they are few enough."""
        if self.kept:
            return self.kept
        request = self.request
        loader = evaluation_loader(
            self.samples,
            input,
            batch_size=request.batch_size,
            workers=request.workers,
            device=self.device,
            on_bad_image=request.on_bad_image,
        )
        loader.on_unreadable = lambda image: self.unreadable.setdefault(Path(image[0]), image[1])
        height, width = input.size
        num_bytes = len(self.samples) * input.channels * height * width * FLOAT_BYTES
        if num_bytes > LARGEST_KEPT:
            return loader
        self.kept.extend(self.track(loader, "reading images", len(loader)))
        return self.kept

    def notes(self, recipe: Recipe) -> tuple[str, ...]:
        """Return what is to be known about the images, in sentences."""
        match = match_classes(recipe.class_names, self.layout.class_names, recipe.num_classes)
        turned = note_on_turned(self.turned, exif=recipe.input.exif)
        scores = None if self.is_training else note_on_temperature(recipe.scores)
        found = (*self.layout.notes, turned, note_on_dim(self.dim), match.note, scores)
        return tuple(filter(None, found))


def in_float32(model: nn.Module) -> nn.Module:
    """Return a model that takes images in float32: itself, or a copy of one in other numbers."""
    if next(model.parameters()).dtype == torch.float32:
        return model
    return deepcopy(model).float()


def _held_out(layout: DataLayout, split: str | None) -> tuple[Sequence[Sample], str]:
    """Return the images of a split, by default the validation images, and its name."""
    if split is not None:
        return layout.samples(split), split
    if "val" in layout.splits:
        return layout.samples("val"), layout.split_names["val"]
    raise DataError(
        f"{layout.root} has no validation images, only: {', '.join(layout.split_names.values())}.",
        reason="What is best on images that were trained on need not be best on others.",
        hint="Give data with a val split. If the models have not seen these images, add "
        f"--split {next(iter(layout.split_names.values()))}.",
    )
