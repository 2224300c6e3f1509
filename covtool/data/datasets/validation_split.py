"""Sets a share of the training images aside to validate on."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from covtool.data.datasets.folders.names import exact_split
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.records import Records, labels_of
from covtool.data.datasets.samples import FileSamples, Sample, chosen_samples
from covtool.errors import DataError


def with_validation(layout: DataLayout, fraction: float, seed: int) -> DataLayout:
    """Set a share of each class aside as ``val``, chosen at random.

    Args:
        layout: Data set with training images, and perhaps a test split, which stays.
        fraction: Share in (0, 1); at least one image of a class is set aside, and one is not. An
            image that is listed more than once is set aside as a whole.
        seed: Seed of the choice. The same images and seed give the same split.

    Raises:
        DataError: It has its own ``val``, or nothing to train on.
    """
    tested = _tested(layout)
    if "val" in layout.splits and tested is None:
        raise DataError(
            f"{layout.root} has its own split to validate on, {layout.split_names['val']!r}.",
            reason=layout.notes[0] if layout.notes else None,
            hint="Leave out --val-fraction.",
        )
    samples = layout.samples("train")
    of_class: dict[int, dict[object, list[int]]] = defaultdict(dict)
    for position, (image, label) in enumerate(_identified(samples)):
        of_class[label].setdefault(image, []).append(position)  # listed more than once
    chosen = set()
    for label, images in of_class.items():
        # A generator for each class: more images of one class change the split of no other.
        count = min(max(1, round(fraction * len(images))), len(images) - 1)
        for image in random.Random(f"{seed} {label}").sample(list(images), count):
            chosen.update(images[image])
    train = chosen_samples(samples, [p for p in range(len(samples)) if p not in chosen])
    val = chosen_samples(samples, sorted(chosen))
    splits, names = {"train": train, "val": val}, {"train": "train", "val": "val"}
    if tested is not None:
        splits["test"], names["test"] = layout.splits[tested], layout.split_names[tested]
    return replace(layout, splits=MappingProxyType(splits), split_names=MappingProxyType(names))


def _identified(samples: Sequence[Sample]) -> Iterator[tuple[object, int]]:
    """Yield what tells each image from others, and its label."""
    if isinstance(samples, FileSamples):
        return zip(samples.paths.texts(), samples.labels.tolist(), strict=True)
    if isinstance(samples, Records):  # their paths are made anew for each, and compare two archives
        return zip(range(len(samples)), labels_of(samples).tolist(), strict=True)
    return ((sample.path, sample.label) for sample in samples)


def _tested(layout: DataLayout) -> str | None:
    """Return the split that the data set calls a test, where it has none to validate on."""
    own = layout.split_names.get("val")
    is_test = own is not None and exact_split(own) == "test" and "test" not in layout.splits
    return "val" if is_test else None
