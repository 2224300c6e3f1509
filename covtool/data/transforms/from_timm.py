"""timm's transforms of images to tensors, for training and evaluation."""

from collections.abc import Callable

from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode, TrivialAugmentWide

from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec

TRIVIAL = "trivial"
"""The policy of `AugmentationSpec.aa` that is torchvision's, not timm's."""

Transform = Callable[[Image.Image], Tensor]
"""An RGB image of any size to the network's input, (channels, height, width)."""


def evaluation_transform(input: InputSpec) -> Transform:
    """Build the transform of images for evaluation: resize, crop, normalize.

    Raises:
        ArgumentError: The input is neither gray nor RGB, or its statistics do not fit it.
    """
    return _with_channels(_prepared(input), input.channels)


def evaluation_pixels(input: InputSpec) -> Transform:
    """Build `evaluation_transform` without its normalization: to uint8.

    Raises:
        ArgumentError: As `evaluation_transform`.
    """
    return _with_channels(_prepared(input, normalize=False), input.channels)


def training_transform(input: InputSpec, augmentation: AugmentationSpec) -> Transform:
    """Build the transform of images for training: a random crop, random variation, normalization.

    It draws from the global generators of `random`, numpy and torch, as timm's transforms do. Where
    the model's images are squashed, they are so before a crop is drawn.

    Args:
        input: The images that the model expects.
        augmentation: Random variation of the images.

    Raises:
        ArgumentError: As `evaluation_transform`; timm does not know the policy `aa`.
    """
    if not augmentation.aug:
        return evaluation_transform(input)
    try:
        transform = _varied(input, augmentation)
    except (AssertionError, KeyError, ValueError) as problem:  # as timm's parser of policies does
        raise ArgumentError(
            f"timm cannot build the augmentation {augmentation.aa!r}.",
            reason=str(problem) or None,
            hint="Examples: trivial, rand-m9-mstd0.5-inc1, augmix-m3-w3, original, 3a.",
        ) from problem
    if input.crop_mode == "squash":
        transform = Compose([Squash(input), transform])
    return _with_channels(transform, input.channels)


def trivial_augment(mean: tuple[float, ...], interpolation: str = "bilinear") -> TrivialAugmentWide:
    """Build a policy of one random operation of random strength per image.

    Args:
        mean: Mean of each channel, of values in [0, 1]; fills what a rotation leaves empty.
        interpolation: Resampling filter; bilinear stands in for those that cannot rotate.

    Source:
        Müller, Hutter. "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
        ICCV 2021, the "wide" space.
    """
    able = interpolation in ("nearest", "bilinear", "bicubic")
    return TrivialAugmentWide(
        interpolation=InterpolationMode(interpolation if able else "bilinear"),
        fill=[min(255, round(255 * value)) for value in mean],
    )


class Squash:
    """Resizes both sides to the network's input, by 1/crop_pct more, whatever the proportions.

    A model that sees squashed images when it is used must see them when it is trained: random
    crops of the image itself have other proportions.
    """

    def __init__(self, input: InputSpec) -> None:
        height, width = input.size
        # timm resizes by 1/crop_pct more than it crops; Pillow's order is width, height.
        self.size = round(width / input.crop_pct), round(height / input.crop_pct)
        self.resample = Image.Resampling[input.interpolation.upper()]

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.resize(self.size, self.resample)


class FirstChannel:
    """Keeps the first of three equal channels, (3, H, W) to (1, H, W): timm varies RGB only."""

    def __call__(self, image: Tensor) -> Tensor:
        return image[:1]


def channel_statistics(input: InputSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each of the network's channels, of values in [0, 1].

    Raises:
        ArgumentError: As `evaluation_transform`.
    """
    mean, std = _statistics(input)
    return mean[: input.channels], std[: input.channels]


def _prepared(input: InputSpec, *, normalize: bool = True) -> Transform:
    mean, std = _statistics(input)
    return create_transform(
        input_size=(3, *input.size),  # as files are read; a gray model gets the first channel
        interpolation=input.interpolation,
        mean=mean,
        std=std,
        crop_pct=input.crop_pct,
        crop_mode=input.crop_mode,
        normalize=normalize,
    )


def _varied(input: InputSpec, augmentation: AugmentationSpec) -> Transform:
    mean, std = _statistics(input)
    settings = {
        "input_size": (3, *input.size),
        "is_training": True,
        "scale": augmentation.scale,
        "ratio": augmentation.ratio,
        "hflip": augmentation.hflip,
        "vflip": augmentation.vflip,
        "color_jitter": augmentation.color_jitter,
        "interpolation": augmentation.train_interpolation,
        "mean": mean,
        "std": std,
        "re_prob": augmentation.reprob,
        "re_mode": augmentation.remode,
    }
    if augmentation.aa != TRIVIAL:
        return create_transform(**settings, auto_augment=augmentation.aa)
    # Where timm puts its own policies: between crop and flips, and normalization and erasing.
    before, _, after = create_transform(**settings, separate=True)
    policy = trivial_augment(mean, augmentation.train_interpolation)
    return Compose([*before.transforms, policy, *after.transforms])


def _with_channels(transform: Transform, channels: int) -> Transform:
    return Compose([transform, FirstChannel()]) if channels == 1 else transform


def _statistics(input: InputSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation for three channels; gray takes the average of three."""
    if input.channels not in (1, 3):
        raise ArgumentError(
            f"The model takes images of {input.channels} channels.",
            reason="covtool reads image files as RGB (3) or gray (1).",
        )
    return (
        _for_rgb(input.mean, "mean", input.channels),
        _for_rgb(input.std, "standard deviation", input.channels),
    )


def _for_rgb(values: tuple[float, ...], what: str, channels: int) -> tuple[float, ...]:
    if len(values) not in (1, 3):
        raise ArgumentError(
            f"The {what} has {len(values)} values, the images have {channels} channels.",
            hint=f"Give one value, or {channels}.",
        )
    if len(values) == 3 and channels == 3:
        return values
    return (sum(values) / len(values),) * 3
