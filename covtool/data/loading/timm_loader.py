"""timm's own loader of training images, to compare with."""

from collections.abc import Iterable
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from torch import Tensor

from covtool.specs import AugmentationSpec, InputSpec


def timm_training_loader(
    folder: Path,
    input: InputSpec,
    augmentation: AugmentationSpec,
    *,
    batch_size: int,
    workers: int,
) -> Iterable[tuple[Tensor, Tensor]]:
    """Build the loader with which timm's training script reads a folder of classes, on the CPU.

    With its prefetcher, which is the default there and the faster way on a CPU as well: pixels
    leave the worker processes in 8 bits.

    Args:
        folder: Folder with a folder per class.
        input: The images that the model expects.
        augmentation: Random variation of the images.
        batch_size: Images per batch; an incomplete last batch is left out.
        workers: Processes that load images.
    """
    return create_loader(
        create_dataset("", root=str(folder), is_training=True),
        input_size=(input.channels, *input.size),
        batch_size=batch_size,
        is_training=True,
        scale=augmentation.scale,
        ratio=augmentation.ratio,
        hflip=augmentation.hflip,
        vflip=augmentation.vflip,
        color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.aa,
        interpolation=augmentation.train_interpolation,
        re_prob=augmentation.reprob,
        re_mode=augmentation.remode,
        mean=input.mean,
        std=input.std,
        num_workers=workers,
        device=torch.device("cpu"),
    )
