"""Maps of where a network looks, for the images of a page."""

from pathlib import Path

import torch
from PIL import Image

from covtool.checkpoints.opened import OpenedModel
from covtool.data.images.decoding import read_image
from covtool.data.transforms.from_timm import evaluation_pixels, evaluation_transform
from covtool.explaining.explaining import explain
from covtool.explaining.overlays import overlay
from covtool.reporting.subjects import Look


def look_of(opened: OpenedModel) -> Look:
    """Return what draws where a model looks for a class; see `covtool.explaining`.

    The picture is the image as the network saw it, with the map over it. Drawing raises a
    `DataError` for an image that cannot be read any more, and what `explain` raises, as for a
    network without a feature map that is pooled.
    """
    input = opened.recipe.input
    pixels, normalized = evaluation_pixels(input), evaluation_transform(input)
    gray = input.channels == 1

    def look(path: Path, output: int) -> Image.Image:
        like = next(opened.model.parameters())
        image = read_image(path, gray=gray, exif=input.exif)
        seen = pixels(image).permute(1, 2, 0).numpy()
        batch = normalized(image)[None].to(like.device, like.dtype)
        values = explain(opened.model, batch, torch.tensor([output], device=like.device)).values
        return overlay(Image.fromarray(seen[..., 0] if gray else seen).convert("RGB"), values[0])

    return look
