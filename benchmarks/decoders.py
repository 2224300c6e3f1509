"""Time of decoders of JPEG files, whole and at a fraction of the size, in turns in one process.

    python benchmarks/decoders.py --data cars30 [--long-side 2000] [--images 100] [--repetitions 7]

Times of one core (`time.process_time`) from the bytes of a file to an array of 8-bit pixels in
memory; medians. ``--long-side`` enlarges the images first, as `covtool bench data` does.
"""

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from covtool.benchmarking.photographs import enlarged, file_sizes
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import draw_evenly
from covtool.data.images.jpeg import JpegDecoder
from covtool.progress import silent

File = tuple[bytes, tuple[int, int]]


def by_pillow(file: File, divisor: int) -> np.ndarray:
    """Decode with Pillow, by `draft` at a fraction."""
    data, (height, width) = file
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    if divisor > 1:
        image.draft(None, (width // divisor, height // divisor))
    return np.asarray(image)


def by_torchvision(file: File, divisor: int) -> torch.Tensor:
    """Decode with torchvision, which has no fractions."""
    encoded = torch.frombuffer(bytearray(file[0]), dtype=torch.uint8)
    return decode_jpeg(encoded, mode=ImageReadMode.RGB)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--long-side", type=int)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=7)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # torchvision's decoder is deprecated
    torch.set_num_threads(1)
    layout = scan(args.data)
    samples = draw_evenly(layout.splits["train"], args.images)
    with tempfile.TemporaryDirectory() as scratch:
        if args.long_side:
            names, place = layout.class_names, Path(scratch) / "large"
            samples = scan(enlarged(samples, names, args.long_side, place, silent)).splits["train"]
        print(file_sizes(samples))
        files = [(s.path.read_bytes(), Image.open(s.path).size[::-1]) for s in samples]
    decoder = JpegDecoder()
    ways: dict[str, Callable[[File], object]] = {
        "torchvision": partial(by_torchvision, divisor=1),
        **{f"Pillow, 1/{d}": partial(by_pillow, divisor=d) for d in (1, 2, 4, 8)},
        **{f"simplejpeg, 1/{d}": lambda f, d=d: decoder(*f, divisor=d) for d in (1, 2, 4, 8)},
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repetitions):
        for name, decode in ways.items():
            start = time.process_time()
            for file in files:
                decode(file)
            times[name].append(1000 * (time.process_time() - start) / len(files))
    for name, found in times.items():
        against = median(t / p for t, p in zip(found, times["Pillow, 1/1"], strict=True))
        print(f"{name}: {median(found):.2f} ms, {against:.2f} of Pillow's whole image")


if __name__ == "__main__":
    main()
