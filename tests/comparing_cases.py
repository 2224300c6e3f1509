"""Data and networks of comparisons: small, and hard enough that no head is right on all images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from covtool.backbones.create import create_model, parse_name

SIDE = 64
CLASSES = ("across", "along", "both")
HEADS = ("gap", "isqrt:dim=8", "gaussian:dim=6,fuse=gap")


def write_stripes(root: Path, *, train: int = 14, val: int = 8) -> Path:
    """Write stripes in noise, in a direction by class, as folders; returns `root`."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = (rows, columns, (rows + columns) / 1.4)
    for split, count in (("train", train), ("val", val)):
        for name, wave in zip(CLASSES, waves, strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = generator.normal(0, 60, (SIDE, SIDE, 3))
                pixels = 128 + 18 * np.sin(wave / 2)[..., None] + noise
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / split / name / f"{number}.png")
    return root


def write_identities(data: Path, listed: Path, *, per_identity: int) -> Path:
    """List the images of `write_stripes` as identities, so many images of each; returns `listed`.

    The test images show others.
    """
    lines = ["path,identity,camera,split"]
    for split, role, prefix in (("train", "train", ""), ("val", "test", "new ")):
        for name in CLASSES:
            for place, file in enumerate(sorted((data / split / name).glob("*.png"))):
                lines.append(f"{file},{prefix}{name} {place // per_identity},,{role}")
    listed.write_text("\n".join(lines))
    return listed


def write_checkpoint(path: Path, name: str = "test_efficientnet") -> Path:
    """Write a checkpoint of a small network with 10 classes; returns `path`."""
    torch.manual_seed(0)
    torch.save(create_model(parse_name(name)[0], num_classes=10).state_dict(), path)
    return path
