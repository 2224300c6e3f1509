"""Time of one core for a training image in loaders of three libraries, in turns in one process.

    python benchmarks/loading_cores.py --data cars30 [--images 160] [--repetitions 5]

Without worker processes, so that only `time.process_time` counts and other load on the machine
hardly does: what `covtool bench data` calls "core ms / image", without the way between processes.
Medians; ratios within a repetition. ``--long-side`` enlarges the images first.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import torch
from timm.data import create_dataset, create_transform
from timm.data.loader import PrefetchLoader, fast_collate
from torch import Tensor
from torch.utils.data import DataLoader

from covtool.benchmarking.photographs import enlarged, file_sizes
from covtool.data.cache import CacheRequest, CacheSetting, open_caches, training_form
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.data.loading.loaders import training_loader
from covtool.data.loading.torchvision_loader import torchvision_training_loader
from covtool.progress import silent
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec

BATCH = 32
INPUT = InputSpec(size=(224, 224))
VARIED = AugmentationSpec(color_jitter=0.0)


def by_timm(samples: Sequence[Sample], folder: Path) -> Iterable[tuple[Tensor, Tensor]]:
    """Build the parts of `create_loader`, which insists on workers that live on."""
    dataset = create_dataset("", root=str(folder), is_training=True)
    dataset.reader.samples = [(str(sample.path), sample.label) for sample in samples]
    dataset.transform = create_transform(
        (3, *INPUT.size),
        is_training=True,
        use_prefetcher=True,
        scale=VARIED.scale,
        ratio=VARIED.ratio,
        color_jitter=0.0,
        interpolation="random",
    )
    settings = {"batch_size": BATCH, "shuffle": True, "drop_last": True}
    loader = DataLoader(dataset, collate_fn=fast_collate, **settings)
    return PrefetchLoader(loader, device=torch.device("cpu"))


def by_torchvision(samples: Sequence[Sample], folder: Path) -> Iterable[tuple[Tensor, Tensor]]:
    """Build the loader of `covtool bench data` for these images only."""
    loader = torchvision_training_loader(folder, INPUT, VARIED, batch_size=BATCH, workers=0)
    loader.dataset.samples = [(str(sample.path), sample.label) for sample in samples]
    return loader


def main() -> None:
    """Print a line per loader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--long-side", type=int)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    layout = scan(args.data)
    samples = draw_evenly(layout.splits["train"], args.images)
    with tempfile.TemporaryDirectory() as scratch:
        if args.long_side:
            names, place = layout.class_names, Path(scratch) / "large"
            samples = scan(enlarged(samples, names, args.long_side, place, silent)).splits["train"]
        request = CacheRequest(split="train", samples=samples, form=training_form(INPUT, VARIED))
        setting = CacheSetting(spec=LoadingSpec(cache="ram"), root=args.data)
        settings = {"batch_size": BATCH, "workers": 0}
        loaders = {
            "timm": by_timm(samples, samples[0].path.parents[1]),
            "torchvision": by_torchvision(samples, samples[0].path.parents[1]),
            "off": training_loader(samples, INPUT, VARIED, **settings),
            "exact": training_loader(samples, INPUT, VARIED, exact_decode=True, **settings),
            "ram": training_loader(open_caches([request], setting)[0], INPUT, VARIED, **settings),
        }
        times: dict[str, list[float]] = {name: [] for name in loaders}
        for epoch in range(args.repetitions):
            for name, loader in loaders.items():
                if hasattr(loader, "set_epoch"):
                    loader.set_epoch(epoch)
                start, images = time.process_time(), 0
                for _, labels in loader:
                    images += len(labels)
                times[name].append(1000 * (time.process_time() - start) / images)
        print(f"{len(samples)} images, {file_sizes(samples)}")
    for name, found in times.items():
        ratio = median(t / own for t, own in zip(times["timm"], found, strict=True))
        print(f"{name}: {median(found):.2f} ms of a core an image, timm's / this {ratio:.2f}")


if __name__ == "__main__":
    main()
