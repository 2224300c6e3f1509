"""Statistics of batch norms, estimated anew on training images."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.averaging.records import AverageRequest
from covtool.backbones.device import sent_to
from covtool.backbones.module_modes import in_eval_mode
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.data.loading.worker_death import translate_worker_death
from covtool.errors import ArgumentError, DataError
from covtool.progress import Track, silent
from covtool.specs import Recipe

SEED = 0
"""Seed of the images' order."""


def batch_norms(model: nn.Module) -> tuple[_BatchNorm, ...]:
    """Return the modules of a model that keep statistics of batches."""
    return tuple(
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    )


@torch.no_grad()
def estimate_statistics_(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    track: Track = silent,
) -> nn.Module:
    """Give the batch norms of a model the mean of the statistics of all batches.

    The cumulative average of ``torch.optim.swa_utils.update_bn``; all other modules are in eval
    mode, so that dropout does not change what the batch norms see.

    Args:
        model: Model, which is moved to `device`.
        loader: Batches of images, (B, channels, height, width), in random order: a batch of one
            class varies less than the data. Labels are not used.
        device: Device that the model runs on.
        track: Display of the progress.

    Returns:
        The model.

    Source:
        Izmailov et al. "Averaging weights leads to wider optima and better generalization",
        UAI 2018, algorithm 1.
    """
    found, model = batch_norms(model), model.to(device)
    momenta = [module.momentum for module in found]
    with in_eval_mode(model):
        for module in found:
            module.reset_running_stats()
            module.momentum = None  # torch's word for a cumulative average
            module.train()
        try:
            batches = len(loader) if hasattr(loader, "__len__") else None
            for images, _ in track(loader, "estimating batch norms", batches):
                model(sent_to(device, images))
        finally:
            for module, momentum in zip(found, momenta, strict=True):
                module.momentum = momentum
    return model


def training_batches(
    request: AverageRequest, recipe: Recipe, device: torch.device, track: Track
) -> tuple[Iterable[tuple[Tensor, Tensor]], str]:
    """Return a loader of training images in random order, prepared as for evaluation.

    Args:
        request: Request with `bn_data`.
        recipe: Recipe of the model, for its images.
        device: Device that normalizes them.
        track: Display of the progress.

    Returns:
        The loader, and the name of the data set and the split.

    Raises:
        DataError: The data set cannot be read, has no training images, or a single one.
        ArgumentError: Batches are of single images.
    """
    layout = scan(request.bn_data, choice=request.layout)
    if "train" not in layout.splits:
        raise DataError(
            f"{layout.root} has no training images.",
            hint="Batch norms are estimated on the images that the models were trained on.",
        )
    checked = check_images(layout.splits["train"], on_bad_image=request.on_bad_image, track=track)
    samples = _shuffled(checked.good)
    if request.batch_size < 2 or len(samples) < 2:
        raise ArgumentError(
            "The statistics of a batch need two images at least.",
            hint="Choose a larger --batch-size." if request.batch_size < 2 else None,
        )
    loader = evaluation_loader(
        samples,
        recipe.input,
        batch_size=request.batch_size,
        workers=request.workers,
        device=device,
        # A batch of one image has no variance after global pooling.
        select_batches=lambda batches: [batch for batch in batches if len(batch) > 1],
        on_bad_image=request.on_bad_image,
    )
    return _Guarded(loader, request.workers), f"{layout.name} {layout.split_names['train']}"


def _shuffled(samples: Iterable[Sample]) -> list[Sample]:
    samples = list(samples)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(SEED))
    return [samples[number] for number in order.tolist()]


class _Guarded:
    """A loader whose workers' deaths become covtool's error."""

    def __init__(self, loader: Iterable[tuple[Tensor, Tensor]], workers: int) -> None:
        self.loader, self.workers = loader, workers

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        with translate_worker_death(self.workers):
            yield from self.loader
