"""Compare a state dict with the index of architectures: by name, by order, by overlap."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from covtool.backbones.auxiliary import is_auxiliary
from covtool.backbones.fingerprint import Architecture, Shape, is_relevant
from covtool.backbones.index import ArchitectureIndex

Match = Literal["names", "order", "overlap"]
Named = tuple[tuple[str, Shape], ...]

RGB = 3
_LEAVES = frozenset({"weight", "bias", "running_mean", "running_var"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture that a checkpoint may be of.

    Attributes:
        architecture: Library, name and arguments.
        match: ``names``: names and shapes are equal, apart from the classifier's outputs.
            ``order``: the shapes are, in the same order under other names. ``overlap``: some are.
        score: Share of the tensors that agree, 0 to 1.
        num_classes: Of the checkpoint's classifier; None where it has none, or for an overlap.
        in_channels: Of the checkpoint's first convolution, if it has one; else None.
        renames: Name in the checkpoint and name in the architecture of each tensor, for ``order``.
    """

    architecture: Architecture
    match: Match
    score: float
    num_classes: int | None = None
    in_channels: int | None = None
    renames: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """The name as ``--arch`` takes it."""
        prefix = "torchvision:" if self.architecture.library == "torchvision" else ""
        return f"{prefix}{self.architecture.name}"


def relevant_tensors(state: Mapping[str, Any]) -> Named:
    """Names and shapes of the tensors that tell about the architecture, in their order."""
    return tuple((name, tuple(t.shape)) for name, t in state.items() if is_relevant(name))


def match_names(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Architectures with the same names and shapes, apart from classifier and input channels."""
    known = np.zeros(len(index.names), dtype=bool)
    known[[n for name, _ in tensors if (n := index.name_numbers.get(name)) is not None]] = True
    body = known[index.pair_names][index.pairs] & ~index.is_classifier
    # Compared by name first, which is quick and leaves few; shapes decide below.
    complete = _per_row(index, body) == index.body_lengths
    rows = np.flatnonzero(complete & (index.body_lengths > 0))
    return list(_fitting(index, rows, lambda row: names_candidate(index, row, dict(tensors))))


def names_candidate(
    index: ArchitectureIndex, row: int, file: Mapping[str, Shape]
) -> Candidate | None:
    """The candidate of a row if names and shapes fit; None otherwise."""
    body, head = _split(index, row)
    extra = set(file) - {name for name, _ in body}
    if len(extra) != len(file) - len(body):
        return None
    pairs = [(file[name], shape) for name, shape in body]
    fits, in_channels = _shapes_fit(pairs)
    prefixes = tuple(f"{c}." for c in index.architectures[row].classifiers)
    if not fits or not all(name.startswith(prefixes) for name in extra):
        return None
    if head and extra and extra != {name for name, _ in head}:
        return None
    if not all(_same_but_outputs(file[name], shape) for name, shape in head if name in extra):
        return None
    return Candidate(
        architecture=index.architectures[row],
        match="names",
        score=1.0,
        num_classes=_outputs([file[n] for n in file if n in extra and not is_auxiliary(n)]),
        in_channels=in_channels,
    )


def match_order(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Architectures with the same shapes in the same order, under other names."""
    length = len(tensors)
    rows = np.flatnonzero(
        (index.body_lengths > 0)
        & ((index.lengths == length) | (length - index.body_lengths <= 2))
        & (index.body_lengths <= length)
    )
    return list(_fitting(index, rows, lambda row: order_candidate(index, row, tensors)))


def order_candidate(index: ArchitectureIndex, row: int, tensors: Named) -> Candidate | None:
    """The candidate of a row if the shapes fit in order; None otherwise."""
    body, head = _split(index, row)
    expected = list(index.tensors(row)) if len(tensors) == len(body) + len(head) else list(body)
    heads = {name for name, _ in head}
    if not head and len(tensors) > len(body):
        added = _classifier_at_the_end(index, row, tensors[len(body) :])
        heads = {name for name, _ in added}
        expected += added
    if len(expected) != len(tensors):
        return None
    pairs = list(zip(tensors, expected, strict=True))
    if not all(_leaves_agree(own, known) for (own, _), (known, _) in pairs):
        return None
    if not all(_same_but_outputs(o, k) for (_, o), (n, k) in pairs if n in heads):
        return None
    fits, in_channels = _shapes_fit([(o, k) for (_, o), (n, k) in pairs if n not in heads])
    if not fits:
        return None
    return Candidate(
        architecture=index.architectures[row],
        match="order",
        score=1.0,
        num_classes=_outputs(
            [own for (_, own), (n, _) in pairs if n in heads and not is_auxiliary(n)]
        ),
        in_channels=in_channels,
        renames=tuple((own, known) for (own, _), (known, _) in pairs),
    )


def match_overlap(index: ArchitectureIndex, tensors: Named, *, limit: int) -> list[Candidate]:
    """The architectures with the largest overlap, at most `limit`.

    The score is the mean of the overlap of (name, shape) pairs and that of shapes alone, each as
    2 * common / (one + other), the Dice coefficient.
    """
    numbers = [index.shape_numbers.get(shape, -1) for _, shape in tensors]
    pair_keys = index.pair_names.astype(np.int64) * len(index.shapes) + index.pair_shapes
    own = [
        index.name_numbers[name] * len(index.shapes) + number
        for (name, _), number in zip(tensors, numbers, strict=True)
        if number >= 0 and name in index.name_numbers
    ]
    common = _per_row(index, np.isin(pair_keys, own)[index.pairs])
    scores = (common + _common_shapes(index, numbers)) / (len(tensors) + index.lengths)
    best = np.argsort(-scores, kind="stable")[:limit]
    return [
        Candidate(
            architecture=index.architectures[row],
            match="overlap",
            score=round(float(scores[row]), 4),
        )
        for row in best
        if scores[row] > 0
    ]


def _common_shapes(index: ArchitectureIndex, numbers: list[int]) -> np.ndarray:
    """How many tensors of each architecture have a partner of the same shape, shape (M,)."""
    shapes, counts = np.unique([n for n in numbers if n >= 0], return_counts=True)
    column = np.full(len(index.shapes), -1)
    column[shapes.astype(int)] = np.arange(len(shapes))
    columns = column[index.pair_shapes[index.pairs]]
    cells = index.owners[columns >= 0] * len(shapes) + columns[columns >= 0]
    table = np.bincount(cells, minlength=len(index.lengths) * len(shapes))
    return np.minimum(table.reshape(len(index.lengths), -1), counts).sum(axis=1)


def _per_row(index: ArchitectureIndex, selected: np.ndarray) -> np.ndarray:
    return np.bincount(index.owners[selected], minlength=len(index.lengths))


def _fitting(index: ArchitectureIndex, rows: Iterable[int], fit: Any) -> Iterator[Candidate]:
    """One candidate a name: of several sets of arguments the first that fits."""
    seen = set()
    for row in rows:
        architecture = index.architectures[row]
        candidate = fit(int(row))
        if candidate is not None and (architecture.library, architecture.name) not in seen:
            seen.add((architecture.library, architecture.name))
            yield candidate


def _split(index: ArchitectureIndex, row: int) -> tuple[Named, Named]:
    """Tensors of a row before the classifier, and those of the classifier."""
    end = index.ends[row]
    is_head = index.is_classifier[end - index.lengths[row] : end].tolist()
    both = list(zip(index.tensors(row), is_head, strict=True))
    return tuple(t for t, head in both if not head), tuple(t for t, head in both if head)


def _shapes_fit(pairs: list[tuple[Shape, Shape]]) -> tuple[bool, int | None]:
    """Whether (own, known) shapes are equal apart from the input channels, and what these are."""
    in_channels = None
    for own, known in pairs:
        if len(known) == 4 and in_channels is None and known[1] == RGB:
            in_channels = own[1] if len(own) == 4 else None
            own = (*own[:1], RGB, *own[2:])
        if own != known:
            return False, None
    return True, in_channels


def _same_but_outputs(own: Shape, known: Shape) -> bool:
    return len(own) == len(known) and own[1:] == known[1:]


def _outputs(shapes: list[Shape]) -> int | None:
    return next((shape[0] for shape in shapes if len(shape) > 1), None)


def _leaves_agree(own: str, known: str) -> bool:
    """Whether two names may stand for the same thing: no mean in the place of a weight."""
    leaves = own.rpartition(".")[2], known.rpartition(".")[2]
    return leaves[0] == leaves[1] or not set(leaves) <= _LEAVES


def _classifier_at_the_end(index: ArchitectureIndex, row: int, tensors: Named) -> list:
    """What the classifier would have to be, for an architecture that is stored without one."""
    heads = index.architectures[row].classifiers
    shapes = [shape for _, shape in tensors]
    linear = len(shapes[0]) == 2 and (len(shapes) == 1 or shapes[1] == shapes[0][:1])
    if len(heads) != 1 or not linear:
        return []
    return list(zip((f"{heads[0]}.weight", f"{heads[0]}.bias"), shapes, strict=False))
