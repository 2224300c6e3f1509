"""Architectures with the same modules under other names, found without the order of the tensors.

Names are trees of modules. Two modules agree where what is in them agrees; of modules that look
alike, those of one name go together, then numbered ones by their numbers. Where only the order of
the tensors could tell, nothing is taken.
"""

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping

import numpy as np

from covtool.backbones.fingerprint import Shape
from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.beside import Linear
from covtool.checkpoints.matching import RGB, Candidate, Named, fitting, split
from covtool.checkpoints.order_matching import names_disagree
from covtool.checkpoints.own_classifiers import with_linear

_LEAVES = frozenset({"weight", "bias", "running_mean", "running_var"})
_NUMBERED = re.compile(r"(\D*)(\d+)")

Tree = dict[str, "Tree | tuple[str, Shape]"]


def match_trees(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Find architectures with the same modules under other names; of heads, a linear layer."""
    lengths = set(index.body_lengths.tolist())
    known: dict[int, list[Shape]] = {}
    for body, linear in _without_head(tensors, lengths):
        # Equal multisets of shapes are necessary and cheap to compare; trees are built only then.
        shapes = sorted(shape for _, shape in body)
        rows = np.flatnonzero(index.body_lengths == len(body)).tolist()
        for row in rows:
            if row not in known:
                known[row] = sorted(shape for _, shape in split(index, row)[0])
        same = [row for row in rows if known[row] == shapes]
        tree = _tree(body) if same else None
        if tree is None:
            continue
        found = fitting(index, same, lambda row, t=tree, h=linear: tree_candidate(index, row, t, h))
        if candidates := list(found):
            return candidates
    return []


def tree_candidate(
    index: ArchitectureIndex, row: int, tree: Tree, linear: Linear | None
) -> Candidate | None:
    """Return the candidate of a row if its modules are those of a tree; None otherwise."""
    body, head = split(index, row)
    pairs = _paired(tree, _tree(body), _Looks())
    if pairs is None or names_disagree(index, pairs, set()):
        return None
    candidate = Candidate(
        architecture=index.architectures[row],
        match="names",
        score=1.0,
        in_channels=RGB if any(len(s) == 4 and s[1] == RGB for _, s in body) else None,
        renames=tuple(pairs),
    )
    weights = [(name, shape) for name, shape in head if name.endswith(".weight")]
    if linear is None or len(weights) != 1:
        return None if linear else candidate
    (name, shape), *_ = weights
    fits = shape[1] == linear.weight[1]
    return with_linear(candidate, linear, name.removesuffix(".weight")) if fits else None


def _without_head(tensors: Named, lengths: Container[int]) -> Iterator[tuple[Named, Linear | None]]:
    """Yield the tensors; then those without one linear layer that stands alone at the top.

    Args:
        tensors: Names and shapes.
        lengths: Lengths of existing bodies; others are left out.
    """
    if len(tensors) in lengths:
        yield tensors, None
    tops = defaultdict(dict)
    for name, shape in tensors:
        tops[name.partition(".")[0]][name] = shape
    for top, inside in tops.items():
        weights = [name for name, shape in inside.items() if len(shape) == 2]
        if len(weights) != 1 or not weights[0].endswith(".weight"):
            continue
        module = weights[0].removesuffix(".weight")
        if set(inside) <= {weights[0], f"{module}.bias"} and len(tensors) - len(inside) in lengths:
            rest = tuple((n, s) for n, s in tensors if n.partition(".")[0] != top)
            has_bias = f"{module}.bias" in inside
            yield rest, Linear(module=module, weight=inside[weights[0]], has_bias=has_bias)


def _tree(tensors: Named) -> Tree | None:
    """Return the tensors in their modules; None where a tensor has the name of a module."""
    root: Tree = {}
    for name, shape in tensors:
        *modules, leaf = name.split(".")
        place = root
        for module in modules:
            place = place.setdefault(module, {})
            # A malformed file may call one thing both a tensor and a module.
            if isinstance(place, tuple):
                return None
        if leaf in place:
            return None
        place[leaf] = (name, shape)
    return root


def _paired(own: Tree, known: Tree, looks: "_Looks") -> list[tuple[str, str]] | None:
    """Return names of tensors in `own` and in `known`; None where no way, or several, fit."""
    own, known = _unwrapped(own), _unwrapped(known)
    if isinstance(own, tuple) or isinstance(known, tuple):
        both = isinstance(own, tuple) and isinstance(known, tuple)
        return [(own[0], known[0])] if both and own[1] == known[1] else None
    matched = _matched(own, known, looks)
    if matched is None:
        return None
    found = []
    for one, other in matched:
        pairs = _paired(own[one], known[other], looks)
        if pairs is None:
            return None
        found += pairs
    return found


def _unwrapped(tree: Tree | tuple) -> Tree | tuple:
    """Return the tree without modules that hold one other module and nothing else."""
    while isinstance(tree, dict) and len(tree) == 1:
        inner = next(iter(tree.values()))
        if isinstance(inner, tuple):
            break
        tree = inner
    return tree


def _matched(own: Tree, known: Tree, seen: "_Looks") -> list[tuple[str, str]] | None:
    """Pair children: by name, else alone in what they look like, else by number."""
    looks = [seen.by_look(tree) for tree in (own, known)]
    if {k: len(v) for k, v in looks[0].items()} != {k: len(v) for k, v in looks[1].items()}:
        return None
    found = []
    for look, names in looks[0].items():
        others = looks[1][look]
        same = [name for name in names if name in others]
        left = [[n for n in group if n not in same] for group in (names, others)]
        pairs = _by_number(*left)
        if pairs is None:
            return None
        found += [(name, name) for name in same] + pairs
    if any(one != other and (one in known or other in own) for one, other in found):
        return None  # a name that the other side has means what it means there
    return found


def _by_number(own: list[str], known: list[str]) -> list[tuple[str, str]] | None:
    if len(own) < 2:
        return list(zip(own, known, strict=True))
    # Numbers behind different words (conv1, norm2) are no order of one kind.
    numbered = [[_NUMBERED.fullmatch(name) for name in names] for names in (own, known)]
    for matches in numbered:
        if not all(matches) or len({match.group(1) for match in matches}) != 1:
            return None
    ordered = [sorted(names, key=_number) for names in (own, known)]
    return list(zip(*ordered, strict=True))


def _number(name: str) -> int:
    return int(_NUMBERED.fullmatch(name).group(2))


class _Looks:
    """Numbers of what modules look like: the same for those that look alike.

    Each module is looked at once, and each look written down once: texts of texts would grow with
    every level.
    """

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._of_trees: dict[int, tuple[Tree, int]] = {}  # by id, which lives as long as the tree

    def by_look(self, tree: Tree) -> Mapping[int, list[str]]:
        """Return the names in a module by what they look like."""
        found: dict[int, list[str]] = defaultdict(list)
        for name, child in tree.items():
            found[self._look(name, child)].append(name)
        return found

    def _look(self, name: str, child: Tree | tuple) -> int:
        child = _unwrapped(child)
        # All libraries call weights and statistics alike; other names are their authors'.
        if isinstance(child, tuple):
            return self._number((name if name in _LEAVES else "", child[1]))
        if id(child) not in self._of_trees:
            inside = tuple(sorted(self._look(n, c) for n, c in child.items()))
            self._of_trees[id(child)] = child, self._number(inside)
        return self._of_trees[id(child)][1]

    def _number(self, look: object) -> int:
        return self._numbers.setdefault(look, len(self._numbers))
