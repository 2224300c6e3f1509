"""Which way of varying cached images is the quick one."""

from covtool.data.rendering.on_device import DeviceRenderer
from covtool.data.rendering.renderers import PillowRenderer, Renderer, TensorRenderer
from covtool.data.rendering.variation import VariedSteps
from covtool.data.transforms.from_timm import Transform, training_transform
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec


def renderer_for(transform: Transform, normalization: Normalization) -> Renderer:
    """Return what varies cached images as a training transform varies those of files.

    Args:
        transform: As `training_transform` makes it.
        normalization: Of the images, where they are.
    """
    steps = VariedSteps(transform)
    if not steps.run_on_tensors:
        return PillowRenderer(steps, normalization)
    on_cpu = normalization.device.type == "cpu"
    return (TensorRenderer if on_cpu else DeviceRenderer)(steps, normalization)


def require_tensors(input: InputSpec, augmentation: AugmentationSpec) -> None:
    """Refuse a variation that a device other than the CPU cannot do.

    Raises:
        ArgumentError: It needs Pillow's images.
    """
    if not augmentation.aug:
        return
    renderer = renderer_for(training_transform(input, augmentation), normalization(input))
    if isinstance(renderer, PillowRenderer):
        what = (
            f"--aa {augmentation.aa}"
            if augmentation.aa
            else f"--train-interpolation {augmentation.train_interpolation}"
        )
        raise ArgumentError(
            f"{what} works on Pillow's images, which are none of the device's.",
            hint="Use --cache ram or --cache disk with it.",
        )
