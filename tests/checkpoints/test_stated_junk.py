"""Whatever stands in a configuration: it says something that makes sense, or nothing."""

import random
from argparse import Namespace

import pytest
import torch

from covtool.checkpoints.metadata.class_lists import CLASS_KEYS
from covtool.checkpoints.metadata.entries import IMAGES, MEAN, PARTS, STD, read_entries
from covtool.checkpoints.metadata.images import stated_images, usual_images
from covtool.checkpoints.metadata.preprocessors import read_open_clip, read_preprocessor
from covtool.checkpoints.metadata.statements import Statements
from covtool.specs import BaseSpec, InputSpec

PROCESSOR = [
    "size",
    "crop_size",
    "do_resize",
    "do_center_crop",
    "resample",
    "do_rescale",
    "rescale_factor",
    "rescale_offset",
    "do_normalize",
    "image_mean",
    "image_std",
    "include_top",
    "image_processor_type",
    "model_cfg",
    "vision_cfg",
    "preprocess_cfg",
    "resize_mode",
    "height",
    "width",
    "shortest_edge",
    "image_processor",
    "mean",
    "std",
]
KEYS = (
    *CLASS_KEYS,
    *PARTS,
    *(key for field in (*IMAGES, MEAN, STD) for key in field.keys),
    *PROCESSOR,
)
ATOMS = (
    None,
    True,
    0,
    -1,
    3,
    224,
    10**400,
    0.5,
    1e-9,
    float("nan"),
    float("inf"),
    "",
    "0.5,0.5",
    "bicubic",
    "resnet18",
    "ConvNextImageProcessor",
    b"abc",
    (),
    torch.zeros(3),
    torch.zeros(2, 2),
    object(),
)


def junk(draw: random.Random, depth: int = 0):
    kind = draw.random()
    if depth > 3 or kind < 0.4:
        return draw.choice(ATOMS)
    if kind < 0.6:
        return [junk(draw, depth + 2) for _ in range(draw.randrange(5))]
    entries = {draw.choice(KEYS): junk(draw, depth + 1) for _ in range(draw.randrange(12))}
    if kind < 0.7:
        entries = {draw.choice((*range(4), "a", None)): value for value in entries.values()}
    return Namespace(**{str(k): v for k, v in entries.items()}) if kind > 0.9 else entries


@pytest.mark.parametrize("seed", range(20))
def test_junk_becomes_images_that_are_valid(seed):
    draw = random.Random(seed)
    base = BaseSpec(library="timm", name="test_resnet")
    for _ in range(25):
        entries = {key: junk(draw) for key in draw.sample(KEYS, 12)}
        readers = (read_preprocessor, read_open_clip)
        said = [read_entries("the file", entries), *(read("the file", entries) for read in readers)]
        told = Statements(sources=tuple(source for source in said if source))
        images = stated_images(told, base, usual_images(base), overrides={}).input
        assert images == InputSpec.model_validate(images.model_dump())
        assert len(images.mean) in (1, 3)
        assert len(images.std) in (1, 3)
        assert all(value > 0 for value in images.std)
        assert told.class_names is None or len(set(told.class_names)) == len(told.class_names)
