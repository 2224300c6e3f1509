"""Images that an exported program is calibrated on and compared on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from covtool.data.datasets.checking import OnBadImage, check_images
from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.layout import canonical_splits
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.loading.image_dataset import ImageDataset
from covtool.data.transforms.from_timm import evaluation_pixels
from covtool.data.transforms.normalization import WHITE, normalization
from covtool.errors import DataError
from covtool.progress import Track, silent
from covtool.specs import InputSpec

RANDOM_IMAGES = 7
HELD_OUT = ("val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images, ready for a model.

    Attributes:
        normalized: (N, C, H, W) in float32.
        pixels: (N, H, W, C) in uint8; None where the model's images are neither gray nor RGB.
        data: Name of the data set; None for random images.
        unreadable: File and reason of images that were left out.
        notes: Notes on what was read.
    """

    normalized: Tensor
    pixels: Tensor | None
    data: str | None = None
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    def given(self, *, as_pixels: bool) -> Tensor:
        """Return what goes into a program that takes pixels, or normalized images."""
        if not as_pixels:
            return self.normalized
        assert self.pixels is not None  # `Deployed` has statistics of gray or RGB
        return self.pixels


def random_images(input: InputSpec, count: int = RANDOM_IMAGES) -> Images:
    """Return images of noise with the mean and the deviation that a model expects."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, input.channels, *input.size, generator=generator)
    if input.channels not in (1, 3):  # no image file has so many: there is no uint8 of them
        return Images(normalized=noise, pixels=None)
    normalize = normalization(input)
    mean, std = torch.tensor(input.mean), torch.tensor(input.std)
    values = noise * _per_channel(std) + _per_channel(mean)
    pixels = (values * WHITE).round().clamp(0, WHITE).to(torch.uint8)
    return Images(normalized=normalize(pixels), pixels=_channels_last(pixels))


def images_of(
    root: Path,
    input: InputSpec,
    count: int,
    *,
    held_out: bool,
    on_bad_image: OnBadImage = "error",
    track: Track = silent,
) -> Images:
    """Read images of a data set, at equal distances, with the preparation that a model expects.

    Args:
        root: A data set, a folder, a list or an image; see `find_images`. No labels are needed.
        input: Preparation.
        count: Images to take, at most.
        held_out: Whether to take validation or test images, where there are any; else training
            images.
        on_bad_image: Whether an unreadable image is an error, or left out.
        track: Display of the progress.

    Raises:
        DataError: There are no images, or one cannot be read.
    """
    source = find_images(root)
    split, samples = _chosen(source.splits, HELD_OUT if held_out else ("train",))
    # At equal distances: classes follow each other in folders and lists.
    taken = min(count, len(samples))
    drawn = numbered([samples[turn * len(samples) // taken] for turn in range(taken)])
    checked = check_images(drawn, on_bad_image=on_bad_image, track=track)
    if not checked.good:
        raise DataError(f"No image of {root} can be read.", hint="Choose other data.")
    dataset = ImageDataset(
        checked.good, evaluation_pixels(input), gray=input.channels == 1, exif=input.exif
    )
    read = track(range(len(dataset)), "reading images", len(dataset))
    pixels = torch.stack([dataset[number][0] for number in read])
    name = Path(root).name or str(root)
    return Images(
        normalized=normalization(input)(pixels),
        pixels=_channels_last(pixels),
        data=name if split == UNSPLIT else f"{name}, {split}",
        unreadable=checked.bad,
        notes=source.notes,
    )


def _chosen(splits: dict, wanted: tuple[str, ...]) -> tuple[str, tuple]:
    """Return the first of the wanted splits that there is, with its name; else all images."""
    names = canonical_splits(splits)
    # Images without splits count as training images of a data set; here they are all there is.
    for role in wanted:
        if role in names:
            return names[role], splits[names[role]]
    return UNSPLIT, tuple(sample for samples in splits.values() for sample in samples)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 2, 3, 1).contiguous()
