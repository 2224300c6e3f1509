"""Architectures that a checkpoint may be of, and when tensors of two names and shapes agree."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from covtool.backbones.fingerprint import Architecture, Shape, is_relevant
from covtool.backbones.index import ArchitectureIndex

Match = Literal["names", "order", "overlap"]
Named = tuple[tuple[str, Shape], ...]

RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture that a checkpoint may be of.

    Attributes:
        architecture: Library, name and arguments.
        match: ``names``: names and shapes are equal, apart from the classifier's outputs.
            ``order``: the shapes are, in the same order under other names. ``overlap``: some are.
        score: Share of the tensors that agree, 0 to 1.
        num_classes: Outputs of the checkpoint's classifier; None without one, or for an overlap.
        in_channels: Channels of the images; None where no convolution shows them.
        renames: Name behind the prefix and name in the architecture, of tensors that are called
            otherwise there.
        classifier: Name in the file and name in the architecture, of the tensors of a classifier
            that is called otherwise there.
        own_head: Names in the file of a classifier that the architecture calls alike.
        doubted: A linear layer that is not taken as the classifier, and the tensor that may stand
            between it and the features; None where there is no doubt.
        classifiers: Modules that might be the classifier, where there is more than one.
        arguments: Constructor arguments beside the architecture's own: another size, say.
        unused: Names in the file that belong to something else.
        notes: Findings, in sentences.
    """

    architecture: Architecture
    match: Match
    score: float
    num_classes: int | None = None
    in_channels: int | None = None
    renames: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    classifier: tuple[tuple[str, str], ...] = ()
    own_head: tuple[str, ...] = field(default=(), repr=False)
    doubted: tuple[str, str] | None = None
    classifiers: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name as ``--arch`` takes it."""
        prefix = "torchvision:" if self.architecture.library == "torchvision" else ""
        return f"{prefix}{self.architecture.name}"


def relevant_tensors(state: Mapping[str, Any]) -> Named:
    """Return names and shapes of the tensors that tell about the architecture, in their order."""
    return tuple((name, tuple(t.shape)) for name, t in state.items() if is_relevant(name))


def split(index: ArchitectureIndex, row: int) -> tuple[Named, Named]:
    """Return tensors of a row before the classifier, and those of the classifier."""
    end = index.ends[row]
    is_head = index.is_classifier[end - index.lengths[row] : end].tolist()
    both = list(zip(index.tensors(row), is_head, strict=True))
    return tuple(t for t, head in both if not head), tuple(t for t, head in both if head)


def per_row(index: ArchitectureIndex, selected: np.ndarray) -> np.ndarray:
    """Return how many of the selected pairs each architecture has, shape (M,)."""
    return np.bincount(index.owners[selected], minlength=len(index.lengths))


def fitting(index: ArchitectureIndex, rows: Iterable[int], fit: Any) -> Iterator[Candidate]:
    """Yield one candidate a name: of several sets of arguments the first that fits."""
    seen = set()
    for row in rows:
        architecture = index.architectures[row]
        # The index may hold an architecture several times, with different arguments.
        if (architecture.library, architecture.name) in seen:
            continue
        candidate = fit(int(row))
        if candidate is not None:
            seen.add((architecture.library, architecture.name))
            yield candidate


def shapes_fit(pairs: Iterable[tuple[Shape, Shape]]) -> tuple[bool, int | None]:
    """Compare (own, known) shapes apart from the input channels, and return these channels.

    Every layer that sees the images may have other channels, all the same ones: networks whose
    first layers stand side by side (MobileOne, CrossViT) have several, and some fold pixels into
    channels before the first one (TResNet), which has a multiple of them.
    """
    usual, others = None, set()
    for own, known in pairs:
        # Channels are judged by all layers together: one that agrees says that images have three.
        if own == known:
            usual = RGB if _is_of_images(known) else usual
            continue
        channels = _channels(own, known)
        if channels is None:
            return False, None
        others.add(channels)
    return len(others) < 2, others.pop() if len(others) == 1 else usual


def _channels(own: Shape, known: Shape) -> int | None:
    """Return the channels of the images of a layer whose shape differs in nothing else."""
    if len(own) != len(known) or len(own) < 2 or own[:1] + own[2:] != known[:1] + known[2:]:
        return None
    # TResNet folds 4x4 pixels into channels: its first layer sees 48 for images of 3.
    folded = known[1] // RGB
    if known[1] % RGB or own[1] % folded:
        return None
    return own[1] // folded


def same_but_outputs(own: Shape, known: Shape) -> bool:
    """Return whether two shapes of a classifier's tensor differ in the number of classes only."""
    return len(own) == len(known) and own[1:] == known[1:]


def outputs(shapes: Iterable[Shape]) -> int | None:
    """Return the number of rows of the first matrix; None without one."""
    return next((shape[0] for shape in shapes if len(shape) > 1), None)


def _is_of_images(known: Shape) -> bool:
    return len(known) == 4 and known[1] == RGB
