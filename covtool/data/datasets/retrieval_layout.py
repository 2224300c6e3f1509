"""A data set for retrieval: identity and camera of each image by subset."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from covtool.errors import DataError
from covtool.full_paths import in_full

JUNK_IDENTITY = "-1"
"""The identity of images that count neither as right nor as wrong, as in Market-1501."""

Subset = Literal["train", "val", "query", "gallery", "test"]


class RetrievalSample(NamedTuple):
    """An image file, the identity on it, and the camera that took it; None if unknown."""

    path: Path
    identity: str
    camera: str | None = None


@dataclass(frozen=True, kw_only=True)
class RetrievalLayout:
    """The images of a data set for retrieval.

    Attributes:
        root: The folder or the CSV file.
        kind: Name of a row of `covtool.data.datasets.retrieval.forms.FORMS`.
        train: Images to train on; their identities are classes.
        val: More images of the training identities, or images of others.
        query: Images to search with.
        gallery: Images to search in.
        shared: Whether `query` and `gallery` are the same images: each is searched for among the
            others.
        numbers_apart: Whether training and test identities are numbered separately, so that a
            number they have in common means nothing.
        notes: Notes for the user on what was read and what was left out.
    """

    root: Path
    kind: str
    train: tuple[RetrievalSample, ...] = ()
    val: tuple[RetrievalSample, ...] = ()
    query: tuple[RetrievalSample, ...] = ()
    gallery: tuple[RetrievalSample, ...] = ()
    shared: bool = False
    numbers_apart: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the folder or file."""
        return in_full(self.root).name

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to: the root, or that of the CSV file."""
        return self.root if self.root.is_dir() else self.root.parent

    @property
    def searched(self) -> tuple[RetrievalSample, ...]:
        """The images of query and gallery, each once."""
        return self.query if self.shared else (*self.query, *self.gallery)

    @property
    def subsets(self) -> dict[Subset, tuple[RetrievalSample, ...]]:
        """The subsets that have images; ``test`` in place of a shared query and gallery."""
        searched: dict[Subset, tuple[RetrievalSample, ...]] = (
            {"test": self.query} if self.shared else {"query": self.query, "gallery": self.gallery}
        )
        every = {"train": self.train, "val": self.val, **searched}
        # Only those with images: users may name each of them as a split.
        return {name: samples for name, samples in every.items() if samples}

    def samples(self, subset: str) -> tuple[RetrievalSample, ...]:
        """Return the images of a subset.

        Raises:
            DataError: There is none of that name; the others are named.
        """
        if subset not in self.subsets:
            raise DataError(
                f"{self.root} has no split called {subset!r}.",
                hint=f"It has: {', '.join(self.subsets)}.",
            )
        return self.subsets[subset]

    def searching_in(self, subset: str) -> "RetrievalLayout":
        """Return a data set in which every image of a subset is searched for among its others.

        With ``train`` and ``val``, trained identities are searched for on purpose.

        Raises:
            DataError: There is none of that name.
        """
        samples = self.samples(subset)
        # Without them, `require_searchable` would refuse identities that are trained as well.
        train = () if subset in ("train", "val") else self.train
        return replace(self, train=train, val=(), query=samples, gallery=samples, shared=True)

    def without(self, paths: Collection[Path]) -> "RetrievalLayout":
        """Return the data set without some images of query and gallery."""
        left = {
            name: tuple(sample for sample in getattr(self, name) if sample.path not in paths)
            for name in ("query", "gallery")
        }
        return replace(self, **left)
