"""A tiny data set that a network can learn in seconds: the classes differ in color."""

import numpy as np
from PIL import Image

COLORS = ("blue", "green", "red")
CHANNEL = {"red": 0, "green": 1, "blue": 2}


def write_toy_data(root, *, train=12, val=6, side=24, colors=COLORS):
    """Folders ``train`` and ``val`` with a folder per color; returns `root`."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for color in colors:
            folder = root / split / color
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 90, (side, side, 3), dtype=np.uint8)
                pixels[..., CHANNEL[color]] += 110
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root
