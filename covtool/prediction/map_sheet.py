"""A picture of images, each beside the map of what speaks for its most probable class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from covtool.data.datasets.records.records import Records
from covtool.data.transforms.from_timm import evaluation_pixels
from covtool.explaining import explain, overlay
from covtool.prediction.answer_sheet import Answered, save_answers
from covtool.prediction.image_inputs import ImageInput
from covtool.prediction.predictor import Predictor
from covtool.prediction.rows import Prediction
from covtool.prediction.streaming import StreamedImages, chunked, image_batches

PICTURES = 20
"""Images of a sheet."""

_BATCH = 4  # the head's gradients take more memory than a prediction does


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What maps are made of.

    Attributes:
        predictor: The model, on its device.
        names: Names of its outputs.
        answered: Images with their answers; the first `PICTURES` are drawn.
        records: Records that some of them are in.
    """

    predictor: Predictor
    names: Sequence[str]
    answered: Sequence[Answered]
    records: Sequence[Records] = ()


def save_maps(
    path: Path, explained: Explained, *, total: int, overwrite: bool = True
) -> tuple[str, ...]:
    """Draw images as the network saw them, each beside its map; return notes on the maps.

    The map is that of the most probable class of the image itself, not of views that were averaged.
    An image that cannot be read is left out.

    Args:
        path: PNG file to write.
        explained: Model and images.
        total: Number of all images.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
        ArgumentError: matplotlib is missing.
        SurgeryError: The network has no feature map that is pooled.
    """
    predictor = explained.predictor
    shown = [one for one in explained.answered if not one.prediction.error][:PICTURES]
    inputs = [ImageInput(one.prediction.path, one.place) for one in shown]
    input = predictor.recipe.input
    dataset = StreamedImages(explained.records, input, evaluation_pixels(input))
    batches = image_batches(dataset, chunked(inputs, _BATCH), count=None, workers=0)
    pictures, notes = [], []
    for batch in batches:
        if batch.pixels is None:  # gone since they were looked at
            continue
        classes, values, note = _explained(predictor, batch.pixels)
        notes.append(note)
        for row, (pixels, output) in enumerate(zip(batch.pixels, classes, strict=True)):
            if not batch.errors[row]:
                pictures.append((_picture(pixels), values[row], explained.names[output]))
    pairs = list(_pairs([one.prediction for one in shown], pictures))
    save_answers(
        path,
        pairs,
        title="What speaks for the most probable class",
        total=total,
        overwrite=overwrite,
    )
    return tuple(dict.fromkeys(notes))


def _explained(predictor: Predictor, pixels: Tensor) -> tuple[list[int], Tensor, str]:
    like = next(predictor.model.parameters())
    images = predictor.normalize(pixels).to(predictor.device, like.dtype)
    with torch.no_grad():
        classes = predictor.model(images).argmax(dim=1)
    maps = explain(predictor.model, images, classes)
    return classes.tolist(), maps.values, maps.note


def _picture(pixels: Tensor) -> Image.Image:
    array = pixels.permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).convert("RGB")


def _pairs(
    predictions: Sequence[Prediction], pictures: Sequence[tuple[Image.Image, Tensor, str]]
) -> Iterator[Answered]:
    for prediction, (picture, values, name) in zip(predictions, pictures, strict=False):
        yield Answered(picture, prediction)
        yield Answered(overlay(picture, values), Prediction(path=f"map of {name}"), is_map=True)
