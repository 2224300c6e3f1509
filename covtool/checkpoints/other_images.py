"""A model on other images than it was made for: how far they are, and whether they make sense.

A head is calibrated or trained for the statistics of maps of one resolution; at another, the
features are others. Measured on ten kinds of monkeys with EfficientNet-Lite0, calibrated at
128 px: see docs/evaluate.md.
"""

from dataclasses import dataclass

import torch
from torch import nn

from covtool.errors import SurgeryError
from covtool.layers.global_pooling import GlobalPooling
from covtool.specs import HeadSpec, InputSpec, Recipe
from covtool.surgery.operations import of_kind
from covtool.variants import HEADS

# Times the side of the images; three quarters lose 5 (average) or 16 points (iSQRT), twice 6 or 0.
SMALLEST, LARGEST = 0.8, 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherImages:
    """Differences between images and those that a model was made for.

    Attributes:
        note: Sentence on what differs.
        is_far: Whether figures that are measured on them say little about the model.
    """

    note: str
    is_far: bool


def compare_images(made: InputSpec, used: InputSpec) -> OtherImages | None:
    """Compare images with those that a model was calibrated or trained on; None for equal ones.

    Args:
        made: Images that a covtool file was made for.
        used: The images that it gets now.
    """
    is_far, differences = False, []
    if used.size != made.size:
        # Sides of squares of as many pixels.
        ratio = (used.size[0] * used.size[1] / (made.size[0] * made.size[1])) ** 0.5
        is_far = not SMALLEST <= ratio <= LARGEST
        sizes = f"{_sized(used)} instead of {_sized(made)}"
        differences.append(f"{sizes} ({ratio:.2g} times the side)")
    for name in ("mean", "std"):
        here, there = getattr(used, name), getattr(made, name)
        if here != there:
            is_far = True
            differences.append(f"--{name} {_listed(here)} instead of {_listed(there)}")
    if not differences:
        return None
    far = " Its predictions may be far off until it is trained on such images." if is_far else ""
    return OtherImages(
        note=f"These images are not what the file was made for: {', '.join(differences)}.{far}",
        is_far=is_far,
    )


def require_positions(model: nn.Module, recipe: Recipe) -> None:
    """Refuse images whose map has a single position, of which there is no covariance.

    All images would get the same answer.

    Args:
        model: Model with the operations of `recipe`, in eval mode.
        recipe: Its input is what the model gets.

    Raises:
        SurgeryError: The map that a second-order head pools has one position.
    """
    # Heads that subtract the mean of the positions: of one position, nothing is left.
    heads = [o for o in of_kind(recipe.operations, HeadSpec) if HEADS[o.head].centered]
    if not heads:
        return
    positions = _positions(model, recipe.input)
    if positions is not None and positions < 2:
        raise SurgeryError(
            f"At {_sized(recipe.input)} pixels the map that the head {heads[-1].head} pools has "
            "one position.",
            reason="One position has no covariance: every image would get the same answer.",
            hint="Use larger images: --img-size.",
        )


def _positions(model: nn.Module, images: InputSpec) -> int | None:
    """Return the number of positions that covtool's pooling sees; None without one."""
    seen: list[int] = []

    def look(pooling: GlobalPooling, arguments: tuple[torch.Tensor, ...]) -> None:
        seen.append(pooling.channels_first(arguments[0]).shape[2:].numel())

    poolings = [module for module in model.modules() if isinstance(module, GlobalPooling)]
    handles = [pooling.register_forward_pre_hook(look) for pooling in poolings]
    image = torch.zeros(1, images.channels, *images.size).to(next(model.parameters()))
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return min(seen, default=None)


def _sized(images: InputSpec) -> str:
    return f"{images.size[0]}x{images.size[1]}"


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
