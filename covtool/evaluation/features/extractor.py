"""Features of images: the input of a model's classifier, its Eigenlayer or its neck."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.backbones.classifier import find_classifier
from covtool.backbones.device import sent_to
from covtool.backbones.module_modes import in_eval_mode
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import NonFiniteError, ShapeError
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent
from covtool.specs import FeatureSpec, InputSpec
from covtool.surgery.eigenlayer import eigenlayer_path
from covtool.surgery.neck import neck_path


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExtractor:
    """Turns images into features, on one process or several.

    Attributes:
        model: Network, left as it is apart from its device.
        layer: Path of the module whose input the features are; "" for the model's output.
        input: Preparation of images that the model expects.
        flip_test: Whether to take the mean of an image's features and those of its mirror image.
        batch_size: Images per batch.
        workers: Processes that load images.
        device: Device that the model runs on.
        processes: Processes that share the batches.
    """

    model: nn.Module
    layer: str
    input: InputSpec
    flip_test: bool = False
    batch_size: int = 32
    workers: int = 2
    device: torch.device | str = "cpu"
    processes: Processes = ALONE

    @classmethod
    def of(
        cls, model: nn.Module, input: InputSpec, spec: FeatureSpec, **settings: object
    ) -> "FeatureExtractor":
        """Return the extractor that `spec` asks for.

        Args:
            model: Network to be run.
            input: Preparation of images that it expects.
            spec: Choice of the features.
            **settings: Other attributes.

        Raises:
            SurgeryError: The model has no linear classifier, or does not run on such images.
        """
        layer = find_feature_layer(model, input, spec)
        return cls(model=model, layer=layer, input=input, flip_test=spec.flip_test, **settings)

    @property
    def num_features(self) -> int:
        """Features of an image."""
        if not self.layer:
            path = find_classifier(self.model, self.input.size, self.input.channels)
            return self.model.get_submodule(path).out_features
        return self.model.get_submodule(self.layer).in_features

    def __call__(self, samples: Sequence[Sample], track: Track = silent) -> Iterator[Tensor]:
        """Yield the features of images, batch by batch, in their order; see `embeddings`.

        All processes must use the iterator up. The main one gets all features, the others none.

        Args:
            samples: Images, or a cache of them.
            track: Display of the progress, batch by batch.
        """
        loader = evaluation_loader(
            samples,
            self.input,
            batch_size=self.batch_size,
            workers=self.workers,
            device=torch.device(self.device),
            select_batches=self.processes.share_of,
        )
        batches = track((images for images, _ in loader), "extracting features", len(loader))
        # Whole batches go round the processes: every batch is what one process would compute.
        yield from self.processes.interleaved(
            embeddings(
                self.model, batches, self.layer, flip_test=self.flip_test, device=self.device
            )
        )


def find_feature_layer(model: nn.Module, input: InputSpec, spec: FeatureSpec) -> str:
    """Return the path of the module whose input is the feature; "" for the model's own output.

    Args:
        model: Network, left as it is.
        input: Preparation of images that it expects.
        spec: Choice of the feature: ``embedding`` is the input of the classifier; ``pooled`` that
            of the neck, or the Eigenlayer, where there is one; ``logits`` the model's output.

    Raises:
        SurgeryError: There is no linear classifier, or the model does not run on such images.
    """
    classifier = find_classifier(model, input.size, input.channels)
    if spec.feature == "pooled":
        return neck_path(model) or eigenlayer_path(model) or classifier
    return "" if spec.feature == "logits" else classifier


def embeddings(
    model: nn.Module,
    batches: Iterable[Tensor],
    layer: str,
    *,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Yield the input of a linear layer of a model, batch by batch.

    The model runs in eval mode, without gradients. It is left on `device`, and else as it was.

    Args:
        model: Images to anything.
        batches: Images, (B, channels, height, width).
        layer: Path of the module whose input is yielded; "" for the output of the model.
        flip_test: Whether to take the mean over each image and its mirror image.
        device: Device that the model runs on.

    Yields:
        Features, (B, D) in float32 on the CPU.

    Raises:
        NonFiniteError: A feature is not a finite number.
        ShapeError: The layer is not fed a vector for each image.
    """
    dtype = next(model.parameters()).dtype  # images must be half where the network is
    with in_eval_mode(model.to(device)):
        for images in batches:
            images = sent_to(device, images, dtype=dtype)
            features = _features(model, layer, images)
            if flip_test:
                # Not normalized before the mean: a longer vector weighs more.
                features = (features + _features(model, layer, images.flip(-1))) / 2
            if not features.isfinite().all():
                raise NonFiniteError(
                    "The model's features are not finite numbers.",
                    hint="covtool inspect says whether the weights hold non-finite values.",
                )
            yield features.cpu()


@torch.no_grad()
def _features(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    features = _fed(model, layer, images) if layer else model(images)
    if features.ndim != 2 or len(features) != len(images):
        what = f"The input of {layer!r}" if layer else "The output of the model"
        raise ShapeError.expected(what, f"({len(images)}, D)", features)
    return features.float()  # what files hold and a search compares; half precision fits exactly


def _fed(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    # A hook in a whole forward pass: what happens between modules belongs to the features.
    fed: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_pre_hook(
        lambda _, given: fed.append(given[0])
    )
    try:
        model(images)
    finally:
        hook.remove()
    # A layer that is called twice (weights shared by two heads) gives its last input.
    return fed[-1] if fed else torch.empty(0)
