"""The order of classes, which says what number each is."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from covtool.data.layouts import DataLayout, Sample


def in_order(names: Iterable[str]) -> list[str]:
    """Different names of classes, sorted; those of digits alone by their numbers.

    So a class that is called 10 follows 9, and classes called 0 to K-1 have these numbers.

    Example:
        >>> in_order(["10", "9", "2"]), in_order(["cat", "10", "9"])
        (['2', '9', '10'], ['10', '9', 'cat'])
    """
    different = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in different):
        different.sort(key=int)
    return different


def in_order_of(layout: "DataLayout", names: Sequence[str]) -> "DataLayout":
    """The same data set with its classes in another order.

    Args:
        layout: The data set.
        names: Its classes; if they are others, it stays as it is.
    """
    if sorted(names) != sorted(layout.class_names) or tuple(names) == layout.class_names:
        return layout
    number = {name: label for label, name in enumerate(names)}
    label_of = [number[name] for name in layout.class_names]

    def relabeled(key: str, samples: "Sequence[Sample]") -> "Sequence[Sample]":
        if layout.searched is not None and key != "train":
            return samples  # numbers of what is searched for
        if not layout.has_files and hasattr(samples, "labels"):  # records, not held in memory
            return replace(samples, labels=np.array(label_of, dtype=np.int32)[samples.labels])
        return tuple(replace(sample, label=label_of[sample.label]) for sample in samples)

    splits = {key: relabeled(key, samples) for key, samples in layout.splits.items()}
    return replace(layout, class_names=tuple(names), splits=MappingProxyType(splits))
