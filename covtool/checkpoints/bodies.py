"""A network's complete body among the tensors of a file, under any prefix, with anything beside."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from covtool.backbones.auxiliary import is_auxiliary
from covtool.backbones.fingerprint import Architecture, Shape
from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.beside import (
    Linear,
    another_network,
    between,
    linear_classifiers,
    modules_above,
)
from covtool.checkpoints.matching import (
    Candidate,
    Named,
    fitting,
    outputs,
    per_row,
    same_but_outputs,
    shapes_fit,
    split,
)
from covtool.checkpoints.own_classifiers import expected_head, with_linear
from covtool.checkpoints.positions import Size, may_differ, other_size

MOST_PREFIXES = 64
_NORMS = ("norm.", "fc_norm.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A module that another argument of the constructor calls otherwise.

    Attributes:
        own: Name in a file.
        known: Name in the index, which has architectures as they are by default.
        arguments: Constructor arguments with which the architecture uses the file's names.
        note: Sentence that says so.
    """

    own: str
    known: str
    arguments: Mapping[str, str]
    note: str


ALIASES = (
    Alias(
        own="fc_norm.",
        known="norm.",
        arguments={"global_pool": "avg"},
        note="The norm behind the pooling (fc_norm) says that the patch tokens are averaged.",
    ),
    Alias(
        own="norm.",
        known="fc_norm.",
        arguments={"global_pool": "token"},
        note="The norm before the pooling (norm) says that the class token is read.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Architectures whose bodies stand behind a prefix.

    Attributes:
        prefix: Prefix of the body's names.
        tensors: Number of tensors of the body.
        candidates: Architectures, all equally good.
    """

    prefix: str
    tensors: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """The tensors of a file behind a prefix, and those that are not.

    Attributes:
        prefix: Prefix of the names in the file.
        inside: Shapes by the names that follow the prefix, in the order of the file.
        outside: Shapes by the whole names.
        ordered: Whether that is the order of the model.
        size: Height and width of the images in pixels, where they are known.
        alias: Alias under which the names are looked up.
    """

    prefix: str
    inside: Mapping[str, Shape]
    outside: Mapping[str, Shape]
    ordered: bool
    size: Size | None = None
    alias: Alias | None = None
    _known: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", self._looked_up())

    @classmethod
    def of(cls, tensors: Named, prefix: str, *, ordered: bool, size: Size | None) -> "View":
        """Return the view of a file's tensors behind a prefix."""
        return cls(
            prefix=prefix,
            inside={n.removeprefix(prefix): s for n, s in tensors if n.startswith(prefix)},
            outside={n: s for n, s in tensors if not n.startswith(prefix)},
            ordered=ordered,
            size=size,
        )

    def aliases(self) -> Iterator["View"]:
        """Yield the view as it is, then under each alias that it has a use for."""
        yield self
        # Only where the file has one norm and not the other: some networks have both.
        for alias in ALIASES:
            has = {top: any(n.startswith(top) for n in self.inside) for top in _NORMS}
            if has[alias.own] and not has[alias.known]:
                yield replace(self, alias=alias)

    @property
    def known(self) -> Mapping[str, str]:
        """Names in the index to names behind the prefix."""
        return self._known

    def _looked_up(self) -> dict[str, str]:
        if self.alias is None:
            return {name: name for name in self.inside}
        own, known = self.alias.own, self.alias.known
        return {
            known + name.removeprefix(own) if name.startswith(own) else name: name
            for name in self.inside
        }


def find_bodies(
    index: ArchitectureIndex, tensors: Named, *, ordered: bool, size: Size | None = None
) -> list[Body]:
    """Return every complete body in a file, the largest first; of nested ones the outer.

    Args:
        index: The architectures.
        tensors: Names and shapes, in the order of the file.
        ordered: Whether that is the order of the model.
        size: Height and width of the images in pixels, where they are known.
    """
    found = []
    for prefix in body_prefixes(index, [name for name, _ in tensors]):
        view = View.of(tensors, prefix, ordered=ordered, size=size)
        bodies = (_body(index, view) for view in view.aliases())
        # The view without alias comes first: names as they are win over renamed ones.
        found += [body for body in bodies if body is not None][:1]
    # Larger bodies first, as a network may hold a smaller one complete, as a detector its backbone.
    found.sort(key=lambda body: (-body.tensors, len(body.prefix)))
    outer: list[Body] = []
    for body in found:
        if not any(_inside(body, other) or _inside(other, body) for other in outer):
            outer.append(body)
    return outer


def bodies_of(index: ArchitectureIndex, view: View, rows: Iterable[int]) -> list[Candidate]:
    """Return those rows whose body stands behind a view's prefix."""
    for aliased in view.aliases():
        found = list(fitting(index, rows, lambda row, v=aliased: body_candidate(index, row, v)))
        if found:
            return found
    return []


def without_heads(body: Body) -> Body:
    """Return the body without a classifier: what stands in its place is something else."""
    return replace(body, candidates=tuple(map(_without_head, body.candidates)))


def _without_head(candidate: Candidate) -> Candidate:
    own = (name for name, _ in candidate.classifier)
    unused = (*candidate.unused, *own, *candidate.own_head)
    return replace(candidate, num_classes=None, classifier=(), own_head=(), unused=unused)


def whole_bodies(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Return architectures of which a file has the body, perhaps the classifier, and no more."""
    view = View.of(tensors, "", ordered=True, size=None)
    rows = _complete_rows(index, view.known)
    found = fitting(index, rows, lambda row: body_candidate(index, row, view))
    return [candidate for candidate in found if not (candidate.unused or candidate.arguments)]


def body_candidate(index: ArchitectureIndex, row: int, view: View) -> Candidate | None:
    """Return the candidate of a row if its body stands behind the view's prefix; None otherwise."""
    body, head = split(index, row)
    # Cheapest test first: thousands of architectures are tried on each prefix.
    if not body or any(name not in view.known for name, _ in body):
        return None
    architecture = index.architectures[row]
    names = {view.known[name] for name, _ in body}
    inside = view.inside
    exact = {n for n, known in head if n in inside and same_but_outputs(inside[n], known)}
    used = names | exact if len(exact) == len(head) else names
    others = [n for n in view.inside if n not in used]
    left = {*names, *others}
    strange = another_network(
        [n for n in view.inside if n in left],
        names,
        architecture.classifiers,
        ordered=view.ordered,
    )
    if strange:
        return None
    shapes = {n: (view.inside[view.known[n]], known) for n, known in body}
    fit = _fit_of(architecture, shapes, view.size)
    if fit is None:
        return None
    in_channels, arguments, notes = fit
    if view.alias is not None:
        arguments, notes = {**arguments, **view.alias.arguments}, (*notes, view.alias.note)
    found = Candidate(
        architecture=architecture,
        match="names",
        score=1.0,
        num_classes=None
        if used == names
        else outputs(inside[n] for n, _ in head if not is_auxiliary(n)),
        in_channels=in_channels,
        arguments=arguments,
        own_head=tuple(view.prefix + n for n in sorted(used - names)),
        unused=(*(view.prefix + n for n in others), *view.outside),
        notes=notes,
    )
    if used == names:
        return _with_classifier(found, head, view, others)
    return _unless_doubted(found, head, view, others)


def body_prefixes(index: ArchitectureIndex, names: Iterable[str]) -> list[str]:
    """Return prefixes behind which both the first and the last tensor of some body stand."""
    ends = index.body_ends
    lasts = set().union(*ends.values())
    begun: dict[str, list[str]] = {}
    ended: dict[str, set[str]] = {}
    for name in set(names):
        for start in _starts(name):
            if name[start:] in ends:
                begun.setdefault(name[:start], []).append(name[start:])
            if name[start:] in lasts:
                ended.setdefault(name[:start], set()).add(name[start:])
    found = {
        prefix
        for prefix, firsts in begun.items()
        if any(not ended.get(prefix, frozenset()).isdisjoint(ends[first]) for first in firsts)
    }
    # Sorted, so that a set's order of strings, which changes from run to run, decides nothing.
    return sorted(found, key=lambda prefix: (len(prefix), prefix))[:MOST_PREFIXES]


def _body(index: ArchitectureIndex, view: View) -> Body | None:
    rows = _complete_rows(index, view.known)
    for length in sorted({int(index.body_lengths[row]) for row in rows}, reverse=True):
        same = [row for row in rows if index.body_lengths[row] == length]
        found = list(fitting(index, same, lambda row: body_candidate(index, row, view)))
        if found:
            return Body(prefix=view.prefix, tensors=length, candidates=_closest(found))
    return None


def _closest(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Return those that are built as the index has them, and those with the file's classifier."""
    fewest = min(len(candidate.arguments) for candidate in candidates)
    plain = [candidate for candidate in candidates if len(candidate.arguments) == fewest]
    return tuple([c for c in plain if c.num_classes is not None] or plain)


def _complete_rows(index: ArchitectureIndex, names: Iterable[str]) -> np.ndarray:
    """Return rows of which every tensor before the classifier is there by name."""
    # All architectures at once: a pass over arrays takes milliseconds, over objects seconds.
    known = np.zeros(len(index.names), dtype=bool)
    known[[n for name in names if (n := index.name_numbers.get(name)) is not None]] = True
    body = known[index.pair_names][index.pairs] & ~index.is_classifier
    return np.flatnonzero((per_row(index, body) == index.body_lengths) & (index.body_lengths > 0))


def _fit_of(
    architecture: Architecture, shapes: Mapping[str, tuple[Shape, Shape]], size: Size | None
) -> tuple[int | None, dict[str, object], tuple[str, ...]] | None:
    """Return channels, arguments and notes of shapes that fit, perhaps at another size, or None."""
    other = {n: pair for n, pair in shapes.items() if pair[0] != pair[1] and may_differ(n)}
    fits, in_channels = shapes_fit(pair for n, pair in shapes.items() if n not in other)
    if not fits:
        return None
    if not other:
        return in_channels, {}, ()
    # Position embeddings differ for two reasons: other channels in the stem, or other image sizes.
    fits, channels = shapes_fit(other.values())  # other channels alone are no other patches
    if fits:
        return channels, {}, ()
    found = other_size(architecture, other, size)
    return None if found is None else (in_channels, found.arguments, found.notes)


def _with_classifier(candidate: Candidate, head: Named, view: View, others: list[str]) -> Candidate:
    """Return the candidate with the linear layer beside the body as its classifier, if one fits."""
    expected = dict(head) or expected_head(candidate.architecture)
    weights = [name for name in expected if name.endswith(".weight")]
    # Distilled networks have two classifiers; a single linear layer cannot stand for both.
    if len(weights) != 1:
        return candidate
    beside = {view.prefix + n: view.inside[n] for n in others} | dict(view.outside)
    roots = {name: _root(name, view.prefix) for name in beside}
    known = weights[0]
    found = linear_classifiers(beside, expected[known][1], roots)
    doubts = between(_uncopied(beside, view), expected[known][1], roots, found)
    # Something that may compute stands between body and classifier: logits could be silently wrong.
    if found and doubts:
        return replace(candidate, doubted=(found[0].module, doubts[0]))
    if len(found) != 1:
        return replace(candidate, classifiers=tuple(linear.module for linear in found))
    return with_linear(candidate, found[0], known.removesuffix(".weight"))


def _unless_doubted(candidate: Candidate, head: Named, view: View, others: list[str]) -> Candidate:
    """Return the candidate with its own classifier, unless something may stand before that."""
    beside = {view.prefix + n: view.inside[n] for n in others} | dict(view.outside)
    roots = {name: _root(name, view.prefix) for name in beside}
    linears = [
        Linear(module=view.prefix + n.rpartition(".")[0], weight=view.inside[n], has_bias=True)
        for n, _ in head
        if len(view.inside[n]) > 1 and not is_auxiliary(n)
    ]
    if not linears:
        return candidate
    doubts = between(_uncopied(beside, view), linears[0].weight[1], roots, linears)
    if not doubts:
        return candidate
    return replace(_without_head(candidate), doubted=(linears[0].module, doubts[0]))


def _uncopied(beside: Mapping[str, Shape], view: View) -> dict[str, Shape]:
    """Return the tensors beside a body that are not those of another network of the same names."""
    # A teacher or a momentum encoder repeats every name of the body under another prefix.
    first = next(iter(view.inside))
    copies = {n.removesuffix(first) for n in beside if n.endswith(f".{first}")}
    return {n: shape for n, shape in beside.items() if copies.isdisjoint(modules_above(n))}


def _root(name: str, prefix: str) -> str:
    """Return the first part of a name that a body's prefix does not share, and what precedes it."""
    shared = 0
    for own, other in zip(name.split("."), prefix.split("."), strict=False):
        if own != other:
            break
        shared += 1
    return ".".join(name.split(".")[: shared + 1])


def _inside(one: Body, other: Body) -> bool:
    return one.prefix.startswith(other.prefix)


def _starts(name: str) -> Iterator[int]:
    yield 0
    for position, letter in enumerate(name):
        if letter == ".":
            yield position + 1
