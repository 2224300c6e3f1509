"""A model's answers for batches of images: probabilities, logits and embeddings of one pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from covtool.backbones.classifier import find_classifier
from covtool.data.transforms.from_timm import Transform, evaluation_pixels
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.data.transforms.views import five_crop_pixels
from covtool.errors import ArgumentError, NonFiniteError, ShapeError
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.prediction.image_inputs import ImageInput
from covtool.prediction.streaming import ImageBatch
from covtool.printable import printable
from covtool.specs import PredictionSpec, Recipe


class Answers(NamedTuple):
    """Answers for the images of a batch; those of unreadable images are without meaning.

    Attributes:
        inputs: The images.
        errors: Reason for each that cannot be read; else empty.
        outputs: The model's outputs, the most probable first, (B, k).
        probabilities: Their probabilities, (B, k) in float64.
        margins: Differences of the two highest probabilities, (B,).
        distances: Distances to the training embeddings, (B,); None where the file keeps none.
        logits: Logits of all outputs, (B, K); None where they are not asked for.
        embeddings: Inputs of the classifier, (B, D); None where they are not asked for.
        turned: Number of images with an EXIF orientation that turns them.
        dim: Number of images that are nearly black.
    """

    inputs: tuple[ImageInput, ...]
    errors: tuple[str, ...]
    outputs: Tensor | None = None
    probabilities: Tensor | None = None
    margins: Tensor | None = None
    distances: Tensor | None = None
    logits: Tensor | None = None
    embeddings: Tensor | None = None
    turned: int = 0
    dim: int = 0


class _Seen(NamedTuple):
    logits: Tensor
    embeddings: Tensor | None
    distances: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Turns batches of pixels into answers. The model runs in eval mode, without gradients.

    Attributes:
        model: Images to logits, on `device`.
        recipe: Recipe of the model.
        spec: Choice of the answers.
        device: Device that the model is on.
        layer: Path of the layer whose input is the embedding; None without embeddings.
        scorer: Measurement of the distance to the training embeddings, open while the predictor is
            used; None where the model's file keeps none.
    """

    model: nn.Module
    recipe: Recipe
    spec: PredictionSpec
    device: torch.device
    layer: str | None = None
    scorer: NeighborScorer | None = None

    @property
    def temperature(self) -> float:
        """Number that logits are divided by before they become probabilities."""
        return 1.0 if self.recipe.scores is None else self.recipe.scores.temperature

    @cached_property
    def normalize(self) -> Normalization:
        """Normalization of pixels, on the device."""
        return normalization(self.recipe.input, self.device)

    def __call__(self, batch: ImageBatch) -> Answers:
        """Return the answers for a batch.

        Raises:
            NonFiniteError: A logit, or a feature, is not a finite number.
            ShapeError: The model does not return (B, K).
        """
        answers = Answers(batch.inputs, batch.errors, turned=batch.turned, dim=batch.dim)
        if batch.pixels is None:
            return answers
        with torch.no_grad():
            seen = [self._seen(view) for view in self._views(batch.pixels)]
        for view in seen:
            _require_finite(view, batch)
        # In float64, on the CPU: the same numbers on every device for the same logits.
        logits = [view.logits.double().cpu() for view in seen]
        probabilities = torch.stack([(one / self.temperature).softmax(1) for one in logits]).mean(0)
        # By logits where there is one view: probabilities of 1 and 0 hide differences. Stable, so
        # that of equals the first comes first, as in an evaluation.
        by = logits[0] if len(logits) == 1 else probabilities
        order = by.sort(dim=1, descending=True, stable=True).indices
        ordered = probabilities.gather(1, order)
        top = min(self.spec.top_k, order.shape[1])
        return answers._replace(
            outputs=order[:, :top].clone(),
            probabilities=ordered[:, :top].clone(),
            margins=_margins(ordered),
            logits=seen[0].logits.cpu() if self.spec.logits else None,
            embeddings=_mean([view.embeddings for view in seen]),
            distances=_mean([view.distances for view in seen]),
        )

    def _views(self, pixels: Tensor) -> Iterator[Tensor]:
        if self.spec.tta == "crops":
            yield from (self.normalize(crop.contiguous()) for crop in pixels.unbind(1))
            return
        images = self.normalize(pixels)
        yield images
        if self.spec.tta == "flip":
            yield images.flip(-1)

    def _seen(self, images: Tensor) -> _Seen:
        images = images.to(self.device, next(self.model.parameters()).dtype)
        with _fed_to(self.model, self.layer) as fed:
            logits = self.model(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ShapeError("The model's output must be one tensor of logits, (B, K).")
        distances = None if self.scorer is None else self.scorer.take()
        return _Seen(logits.float(), fed[-1].float() if fed else None, distances)


def transform_for(recipe: Recipe, spec: PredictionSpec) -> Transform:
    """Return the transform of an image to the pixels that `Predictor` takes.

    Raises:
        ArgumentError: There are no such views, or the input is neither gray nor RGB.
    """
    make = five_crop_pixels if spec.tta == "crops" else evaluation_pixels
    return make(recipe.input)


def embedding_layer(model: nn.Module, recipe: Recipe) -> str:
    """Return the path of the layer whose input is an image's embedding.

    Raises:
        SurgeryError: The model has no linear classifier.
    """
    return find_classifier(model, recipe.input.size, recipe.input.channels)


def scorer_for(model: nn.Module, spec: PredictionSpec) -> NeighborScorer | None:
    """Return the measurement of distances; None where the model's file keeps no embeddings.

    Raises:
        ArgumentError: Distances decide the answers, and there are none.
    """
    scorer = NeighborScorer.of(model)
    if scorer is None and spec.max_distance is not None:
        raise ArgumentError(
            "The model's file keeps no training embeddings: there is no distance to compare with "
            f"--max-distance {spec.max_distance:g}.",
            hint="Keep them: covtool convert --calibrate DIR --keep-neighbors, or covtool finetune "
            "--keep-neighbors.",
        )
    return scorer


def _mean(views: Sequence[Tensor | None]) -> Tensor | None:
    """Return the mean over the views, on the CPU; None where there is nothing."""
    return None if views[0] is None else torch.stack(list(views)).mean(0).cpu()


def _margins(ordered: Tensor) -> Tensor:
    """Return the differences of the two highest probabilities; of one class alone, it itself."""
    return ordered[:, 0] - ordered[:, 1] if ordered.shape[1] > 1 else ordered[:, 0].clone()


def _require_finite(seen: _Seen, batch: ImageBatch) -> None:
    for values in seen:
        finite = None if values is None else values.isfinite().reshape(len(values), -1).all(1)
        if finite is None or finite.all():
            continue
        name = batch.inputs[int((~finite).nonzero()[0])].name
        raise NonFiniteError(
            f"The model's answer for {printable(name)} is not made of finite numbers.",
            hint="covtool inspect says whether the weights hold non-finite values; --amp-dtype "
            "bfloat16 has a wider range.",
        )


@contextmanager
def _fed_to(model: nn.Module, layer: str | None) -> Iterator[list[Tensor]]:
    """Collect what a layer is fed while the block runs the model."""
    fed: list[Tensor] = []
    if layer is None:
        yield fed
        return
    hook = model.get_submodule(layer).register_forward_pre_hook(
        lambda _, given: fed.append(given[0])
    )
    try:
        yield fed
    finally:
        hook.remove()
