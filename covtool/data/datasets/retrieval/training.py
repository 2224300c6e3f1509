"""Data sets for classification from data sets for retrieval: an identity is a class."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.retrieval_layout import JUNK_IDENTITY, RetrievalLayout, RetrievalSample
from covtool.data.datasets.samples import Sample
from covtool.data.datasets.validation_split import with_validation
from covtool.errors import DataError


def training_images(layout: RetrievalLayout) -> tuple[RetrievalSample, ...]:
    """Return the training images without junk.

    Raises:
        DataError: There are none.
    """
    train = tuple(sample for sample in layout.train if sample.identity != JUNK_IDENTITY)
    if not train:
        raise DataError(f"{layout.root} has no training images, only: {', '.join(layout.subsets)}.")
    return train


def training_layout(
    layout: RetrievalLayout, *, val_fraction: float | None = None, seed: int = 0
) -> DataLayout:
    """Build a data set for classification from the training images.

    Junk is left out. Images of `val` are validation images if all their identities are trained.

    Args:
        layout: The data set.
        val_fraction: Share of each class to set aside as ``val``, where there is none.
        seed: Seed of that choice.

    Raises:
        DataError: There are no training images, or `val_fraction` is given beside a ``val``.
    """
    train = training_images(layout)
    # As text, not by number like classes: checkpoints hold the classes of identities in this order.
    names = sorted({sample.identity for sample in train})
    index = {name: label for label, name in enumerate(names)}
    splits = {"train": _labeled(train, index)}
    # Else they show other people: a classifier has no class for them.
    if layout.val and {sample.identity for sample in layout.val} <= index.keys():
        splits["val"] = _labeled(layout.val, index)
    classes = DataLayout(
        root=layout.root,
        kind="folder" if layout.root.is_dir() else "csv",
        class_names=tuple(names),
        splits=MappingProxyType(splits),
        split_names=MappingProxyType({key: key for key in splits}),
        notes=layout.notes,
    )
    return classes if val_fraction is None else with_validation(classes, val_fraction, seed)


def searching_layout(layout: RetrievalLayout) -> DataLayout:
    """Build a data set for classification with a search in place of its validation.

    Raises:
        DataError: There are no training images.
    """
    training = training_layout(replace(layout, val=()))
    name = "test" if layout.shared else "query, gallery"
    return replace(
        training,
        splits=MappingProxyType({**training.splits, "val": numbered(layout.searched)}),
        split_names=MappingProxyType({**training.split_names, "val": name}),
        searched=layout,
    )


def numbered(samples: Sequence[RetrievalSample]) -> tuple[Sample, ...]:
    """Return images with their positions in place of labels."""
    return tuple(Sample(sample.path, number) for number, sample in enumerate(samples))


def _labeled(samples: Sequence[RetrievalSample], index: dict[str, int]) -> tuple[Sample, ...]:
    return tuple(Sample(sample.path, index[sample.identity]) for sample in samples)
