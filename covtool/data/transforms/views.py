"""Several views of an image for one prediction: five crops of what evaluation resizes."""

from PIL import Image
from torch import Tensor, stack
from torchvision.transforms import CenterCrop
from torchvision.transforms.functional import five_crop

from covtool.data.transforms.from_timm import Transform, evaluation_pixels
from covtool.errors import ArgumentError
from covtool.specs import InputSpec


def five_crop_pixels(input: InputSpec) -> Transform:
    """Build a transform of an image to five crops: `evaluation_pixels`, and the four corners.

    The image is resized as for evaluation; where that crops the center, the corners are cut out as
    well, of the same size.

    Args:
        input: The images that the model expects.

    Returns:
        An image to (5, channels, height, width) in uint8: upper left, upper right, lower left,
        lower right, center.

    Raises:
        ArgumentError: Evaluation leaves nothing outside its crop.
    """
    is_whole = input.crop_mode == "squash" and input.crop_pct >= 1
    if input.crop_mode == "border" or is_whole or input.crop_pct > 1:
        raise ArgumentError(
            f"There are no five crops with crop mode {input.crop_mode} and crop_pct "
            f"{input.crop_pct:g}: the center crop holds the whole image.",
            hint="Average the image and its mirror image: --tta flip.",
        )
    steps = evaluation_pixels(input).transforms
    inner = next((step for step in steps if hasattr(step, "transforms")), None)
    flat = [*inner.transforms, *steps[1:]] if inner is not None else list(steps)
    at = next(number for number, step in enumerate(flat) if isinstance(step, CenterCrop))
    return _FiveCrops(flat[:at], flat[at].size, flat[at + 1 :])


class _FiveCrops:
    def __init__(self, before: list[Transform], size: tuple[int, int], after: list[Transform]):
        self.before, self.size, self.after = before, size, after

    def __call__(self, image: Image.Image) -> Tensor:
        return stack([_through(self.after, crop) for crop in self._crops(image)])

    def _crops(self, image: Image.Image) -> tuple[Image.Image, ...]:
        return five_crop(_through(self.before, image), list(self.size))


def _through(steps: list[Transform], image: Image.Image) -> Image.Image | Tensor:
    for step in steps:
        image = step(image)
    return image
