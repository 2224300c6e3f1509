"""Architectures whose shapes stand in the same order as a checkpoint's, under other names.

An order says little, so it is taken only where nothing speaks against it: no mean in the place of
a weight, no name that the architecture has in another place, no numbers out of order.
"""

import re

import numpy as np

from covtool.backbones.auxiliary import is_auxiliary
from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.matching import (
    Candidate,
    Named,
    fitting,
    outputs,
    same_but_outputs,
    shapes_fit,
    split,
)

_LEAVES = frozenset({"weight", "bias", "running_mean", "running_var"})
_HALF = 0.5  # with so many names in common a file is of the same code base


def match_order(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Return architectures with the same shapes in the same order, under other names."""
    # Sorted names would pair the weights of block 10 with those of block 2, of the same shape.
    if not numbers_ascend(name for name, _ in tensors):
        return []
    length = len(tensors)
    rows = np.flatnonzero(
        (index.body_lengths > 0)
        # Either the whole network, or its body with at most one linear layer (weight and bias).
        & ((index.lengths == length) | (length - index.body_lengths <= 2))
        & (index.body_lengths <= length)
    )
    return list(fitting(index, rows, lambda row: order_candidate(index, row, tensors)))


def order_candidate(index: ArchitectureIndex, row: int, tensors: Named) -> Candidate | None:
    """Return the candidate of a row if the shapes fit in order; None otherwise."""
    body, head = split(index, row)
    expected = list(index.tensors(row)) if len(tensors) == len(body) + len(head) else list(body)
    heads = {name for name, _ in head}
    if not head and len(tensors) > len(body):
        added = _classifier_at_the_end(index, row, tensors[len(body) :])
        heads = {name for name, _ in added}
        expected += added
    if len(expected) != len(tensors):
        return None
    pairs = list(zip(tensors, expected, strict=True))
    # All four vectors of a batch norm have one shape; only their last names tell them from each
    # other.
    if not all(_leaves_agree(own, known) for (own, _), (known, _) in pairs):
        return None
    if names_disagree(index, [(own, known) for (own, _), (known, _) in pairs], heads):
        return None
    of_head = [own for (_, own), (n, _) in pairs if n in heads and not is_auxiliary(n)]
    if not all(same_but_outputs(o, k) for (_, o), (n, k) in pairs if n in heads):
        return None
    fits, in_channels = shapes_fit((o, k) for (_, o), (n, k) in pairs if n not in heads)
    if not fits:
        return None
    return Candidate(
        architecture=index.architectures[row],
        match="order",
        score=1.0,
        num_classes=outputs(of_head),
        in_channels=in_channels,
        renames=tuple((own, known) for (own, _), (known, _) in pairs),
    )


def numbers_ascend(names: Named) -> bool:
    """Return whether modules that are counted stand in the order of their numbers.

    They do in a model. Where they do not, something has sorted the tensors (``blocks.10`` before
    ``blocks.2``), and their order says nothing about the model's.
    """
    highest: dict[str, int] = {}
    for name in names:
        dotted = f".{name}"
        for number in re.finditer(r"(?<=\.)\d+(?=\.)", dotted):
            parent, value = dotted[: number.start()], int(number.group())
            if value < highest.get(parent, value):
                return False
            highest[parent] = value
    return True


def names_disagree(index: ArchitectureIndex, pairs: list[tuple[str, str]], heads: set[str]) -> bool:
    """Return whether a tensor has another role by its name than by its place.

    Where most names are the architecture's own, one that is known of other architectures
    (``fc_norm.weight``) means what it means there.
    """
    known = {name for _, name in pairs}
    same = sum(own == name for own, name in pairs)
    # A file with most of the names is of the same code base, where a known name has a known role.
    alike = same >= _HALF * len(pairs)
    for own, name in pairs:
        if own == name or name in heads:
            continue
        if own in known or (alike and own in index.name_numbers):
            return True
    return False


def _leaves_agree(own: str, known: str) -> bool:
    """Return whether two names may stand for the same thing: no mean in the place of a weight."""
    leaves = own.rpartition(".")[2], known.rpartition(".")[2]
    return leaves[0] == leaves[1] or not set(leaves) <= _LEAVES


def _classifier_at_the_end(index: ArchitectureIndex, row: int, tensors: Named) -> list:
    """Return the classifier's shapes for an architecture that is stored without one."""
    heads = index.architectures[row].classifiers
    shapes = [shape for _, shape in tensors]
    linear = len(shapes) == 2 and len(shapes[0]) == 2 and shapes[1] == shapes[0][:1]
    named = [name.rpartition(".")[2] for name, _ in tensors] == ["weight", "bias"]
    if len(heads) != 1 or not (linear and named):
        return []
    return list(zip((f"{heads[0]}.weight", f"{heads[0]}.bias"), shapes, strict=False))
