"""Maps of where a network looks, for the images of a page."""

from pathlib import Path

import torch
from PIL import Image

from covtool.checkpoints.opened import OpenedModel
from covtool.data.images.decoding import read_image
from covtool.data.transforms.from_timm import evaluation_pixels, evaluation_transform
from covtool.errors import CovtoolError
from covtool.explaining.explaining import explain
from covtool.explaining.overlays import overlay
from covtool.reporting.subjects import Look


def look_of(opened: OpenedModel) -> Look:
    """Return what draws where a model looks for a class; see `covtool.explaining`.

    The picture is the image as the network saw it, with the map over it; None where there is no
    map, as for a network without a feature map that is pooled.
    """
    input = opened.recipe.input
    pixels, normalized = evaluation_pixels(input), evaluation_transform(input)
    gray = input.channels == 1

    def look(path: Path, output: int) -> Image.Image | None:
        like = next(opened.model.parameters())
        try:
            image = read_image(path, gray=gray, exif=input.exif)
            seen = pixels(image).permute(1, 2, 0).numpy()
            batch = normalized(image)[None].to(like.device, like.dtype)
            values = explain(opened.model, batch, torch.tensor([output], device=like.device)).values
        except CovtoolError:  # gone by now, or a network without such a map
            return None
        return overlay(Image.fromarray(seen[..., 0] if gray else seen).convert("RGB"), values[0])

    return look
