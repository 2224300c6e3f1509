"""A small texture data set that needs no download, cut from photographs in scikit-image's wheel.

A class is a material. Training and test patches come from disjoint parts of the photograph, with a
gap between them. Patches are small, gray, rotated, rescaled, blurred, noisy, and all have about the
same brightness and contrast, so that texture is what is left to tell them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from covtool.atomic import saving
from covtool.atomic.endings import tidied_up_when_ended
from covtool.atomic.folders import made_folder, make_way, require_folder
from covtool.atomic.staging import staging_folder
from covtool.errors import ArgumentError, OutputExistsError

SEED = 0
IMAGES_PER_CLASS = {"train": 24, "test": 24}
SIDE = 96  # of the files, in pixels
CUT_SIDES = (48.0, 100.0)  # least and largest side of a cut in the photograph, before rescaling
LARGEST_SHARE = 0.85  # of the largest square that fits into a box, so that cuts differ in place
BLUR_RADII = (0.0, 1.0)  # in pixels of the file
CONTRASTS = (0.10, 0.22)  # standard deviation of the pixels, of a range of 1
BRIGHTNESSES = (0.4, 0.6)  # their mean
NOISE = 0.17  # standard deviation of what is added to each pixel
DIAGONAL = 2**0.5  # a rotated square fits into one this much larger

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Texture:
    """Source of a class's patches.

    Attributes:
        name: Name of the class.
        photograph: File in scikit-image's data folder.
        train: Rectangles (left, top, right, bottom) for training patches.
        test: Rectangles for test patches.
        shrink: Divisor of the photograph's sides, before patches are cut.
    """

    name: str
    photograph: str
    train: tuple[Box, ...]
    test: tuple[Box, ...]
    shrink: int = 1


LEFT, RIGHT = ((0, 0, 300, 512),), ((330, 0, 512, 512),)

TEXTURES = (
    Texture("brick", "brick.png", LEFT, RIGHT),
    Texture("cell-medium", "cell.png", ((0, 0, 550, 270),), ((0, 300, 300, 660),)),
    Texture("coins", "coins.png", ((20, 20, 384, 150),), ((20, 165, 384, 300),)),
    Texture(
        "gland",
        "ihc.png",
        ((0, 30, 250, 120), (255, 325, 385, 400)),
        ((0, 135, 250, 230), (255, 412, 385, 490)),
    ),
    Texture("grass", "grass.png", LEFT, RIGHT),
    Texture("gravel", "gravel.png", LEFT, RIGHT),
    Texture("handwriting", "text.png", ((0, 0, 210, 172),), ((235, 0, 448, 172),)),
    Texture("lawn", "camera.png", ((410, 260, 512, 512),), ((160, 340, 228, 512),)),
    Texture("moon", "moon.png", ((0, 0, 240, 512),), ((270, 0, 512, 512),)),
    Texture("print", "page.png", ((0, 30, 180, 180),), ((205, 30, 384, 180),)),
    Texture("retina", "retina.jpg", ((170, 110, 330, 590),), ((350, 110, 540, 590),), shrink=2),
    Texture(
        "stroma",
        "ihc.png",
        ((165, 290, 245, 395), (430, 270, 512, 380)),
        ((165, 410, 245, 512), (430, 395, 512, 512)),
    ),
    Texture(
        "wood",
        "coffee.png",
        ((490, 90, 600, 235), (0, 90, 75, 230)),
        ((490, 250, 600, 400), (0, 245, 75, 400)),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextureDataset:
    """The data set that `make_texture_dataset` wrote.

    Attributes:
        folder: Folder with ``train/<class>`` and ``test/<class>``.
        class_names: Names of the classes, sorted.
        train_images: Number of images in ``train``.
        test_images: Number of images in ``test``.
    """

    folder: Path
    class_names: tuple[str, ...]
    train_images: int
    test_images: int


def make_texture_dataset(folder: Path, *, overwrite: bool = False) -> TextureDataset:
    """Write the embedded texture data set; the same images every time.

    Args:
        folder: Folder for ``train`` and ``test``; made if needed.
        overwrite: Whether an existing ``train`` and ``test`` are replaced.

    Raises:
        OutputExistsError: `folder` has a ``train`` or ``test``, and `overwrite` is False.
        ArgumentError: scikit-image is not installed, or `folder` cannot be made or written to.
        SaveError: The images cannot be written.
    """
    photographs = _photographs()  # first: without them nothing is to be removed or made
    present = [folder / split for split in IMAGES_PER_CLASS if (folder / split).exists()]
    if present and not overwrite:
        raise OutputExistsError(present[0])
    require_folder(folder)
    with (
        saving(folder),
        tidied_up_when_ended(),
        made_folder(folder),
        staging_folder(folder / "textures") as unfinished,
    ):
        for texture in TEXTURES:
            _write_class(texture, photographs / texture.photograph, unfinished)
        for path in present:
            make_way(path, overwrite=overwrite)
        for split in IMAGES_PER_CLASS:
            (unfinished / split).rename(folder / split)
    return TextureDataset(
        folder=folder,
        class_names=tuple(sorted(texture.name for texture in TEXTURES)),
        train_images=len(TEXTURES) * IMAGES_PER_CLASS["train"],
        test_images=len(TEXTURES) * IMAGES_PER_CLASS["test"],
    )


def _photographs() -> Path:
    """Return scikit-image's data folder, without importing scikit-image."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ArgumentError(
            "The embedded data set needs scikit-image, which is not installed.",
            reason="It is cut from photographs that scikit-image ships.",
            hint="Install it: pip install 'covtool[demo]'.",
        )
    return Path(spec.origin).parent / "data"


def _write_class(texture: Texture, photograph: Path, folder: Path) -> None:
    # A seed of its own, so that a class that is added changes no image of the others.
    rng = np.random.default_rng([SEED, *texture.name.encode()])
    with Image.open(photograph) as file:
        image = file.convert("L").reduce(texture.shrink)
    for split, boxes in (("train", texture.train), ("test", texture.test)):
        target = folder / split / texture.name
        target.mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS[split]):
            _patch(image, boxes, rng).save(target / f"{number:02}.png")


def _patch(image: Image.Image, boxes: Sequence[Box], rng: np.random.Generator) -> Image.Image:
    """Cut a rotated square from somewhere inside one of the boxes."""
    areas = np.array([(right - left) * (low - top) for left, top, right, low in boxes])
    left, top, right, low = boxes[rng.choice(len(boxes), p=areas / areas.sum())]
    room = min(right - left, low - top) / DIAGONAL
    side = min(rng.uniform(*CUT_SIDES), room * LARGEST_SHARE)
    reach = side * DIAGONAL / 2  # whatever the angle, nothing outside the box is in the square
    x, y = rng.uniform(left + reach, right - reach), rng.uniform(top + reach, low - reach)
    around = (x - reach, y - reach, x + reach, y + reach)
    large = round(SIDE * DIAGONAL)
    square = image.resize((large, large), Image.Resampling.BICUBIC, box=around)
    square = square.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    margin = (large - SIDE) // 2
    square = square.crop((margin, margin, margin + SIDE, margin + SIDE))
    return _leveled(square.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR_RADII))), rng)


def _leveled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Set an image to a random brightness and contrast within narrow bounds, and add noise."""
    values = np.asarray(image, dtype=np.float64) / 255
    values = (values - values.mean()) / max(values.std(), 1 / 255)
    values = values * rng.uniform(*CONTRASTS) + rng.uniform(*BRIGHTNESSES)
    values += rng.normal(0, NOISE, values.shape)
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
