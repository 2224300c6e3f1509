"""The choice of the quickest renderer that can vary decoded images as asked for."""

from covtool.data.rendering.on_device import DeviceRenderer
from covtool.data.rendering.renderers import PillowRenderer, Renderer, TensorRenderer
from covtool.data.rendering.variation import VariedSteps
from covtool.data.transforms.from_timm import Transform, training_transform
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec


def renderer_for(transform: Transform, normalization: Normalization) -> Renderer:
    """Choose the renderer that varies decoded images as a transform varies Pillow's.

    Args:
        transform: Transform that `training_transform` built.
        normalization: Normalization on the device of the images.
    """
    steps = VariedSteps(transform)
    if not steps.run_on_tensors:
        return PillowRenderer(steps, normalization)
    # On a CPU an image at a time stays in the processor's caches; on a GPU a batch is one kernel.
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
