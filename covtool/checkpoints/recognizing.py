"""Recognize an architecture by the tensors of a checkpoint alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import torch

from covtool.backbones.architectures import load_index
from covtool.backbones.index import ArchitectureIndex
from covtool.backbones.names import TORCHVISION_PREFIX
from covtool.backbones.published_names import current_name
from covtool.checkpoints.bodies import (
    Body,
    View,
    bodies_of,
    body_prefixes,
    find_bodies,
    without_heads,
)
from covtool.checkpoints.containers import several_sets
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.identification import Identification
from covtool.checkpoints.matching import Candidate, Named, relevant_tensors
from covtool.checkpoints.order_matching import match_order, numbers_ascend, order_candidate
from covtool.checkpoints.other_names import NamedFile, converted_by_timm, read_as_code_bases
from covtool.checkpoints.overlap import match_overlap
from covtool.checkpoints.own_classifiers import with_linear_beside, with_named_classifier
from covtool.checkpoints.positions import Size
from covtool.checkpoints.preferences import preference
from covtool.checkpoints.refusals import not_computed, not_of
from covtool.checkpoints.tree_matching import match_trees
from covtool.checkpoints.weight_sets import choose, distills_itself, is_averaged
from covtool.errors import CheckpointError, UnrecognizedCheckpointError
from covtool.printable import printable
from covtool.progress import Track, silent

OVERLAPS_SHOWN = 10
_SHOWN = 16  # classifiers


def identify(
    checkpoint: ForeignCheckpoint | str | Path,
    *,
    arch: str | None = None,
    classifier_layer: str | None = None,
    size: Size | None = None,
    track: Track = silent,
) -> Identification:
    """Find the architectures, of all that timm and torchvision have, that fit a checkpoint.

    Comparisons, until one gives a result: the body's names and shapes are equal, behind any prefix
    and with heads, losses and other networks beside it; shapes are equal in the same order under
    other names; modules are equal apart from their names; the largest overlap. An overlap is a list
    to look at, never an answer.

    Args:
        checkpoint: A checkpoint, or its path.
        arch: The architecture, where it is known: ``resnet50``, ``torchvision:resnet50``.
        classifier_layer: Classifier of a file with several linear layers that may be it.
        size: Height and width of the images in pixels; None for what the file states. Position
            embeddings for a grid that is not square need it.
        track: Shows the progress, should unknown architectures have to be learned.

    Returns:
        Of equal candidates first the one that the file itself or its name tells, then timm's.

    Raises:
        UnrecognizedCheckpointError: `arch` does not exist, or the tensors do not fit it.
        CheckpointError: `checkpoint` is a path, and cannot be read. Or it holds several networks,
            or several classifiers, and nothing says which is meant.
    """
    if not isinstance(checkpoint, ForeignCheckpoint):
        checkpoint = read_checkpoint(checkpoint)
    index = load_index(track)
    size = size or checkpoint.statements.input.get("size")
    search = _Search(index, None if arch is None else _rows_of(index, arch), arch, size)
    found = search.of(checkpoint)
    if found is not None:
        return _with_one_classifier(found, classifier_layer)
    if search.rows is not None:
        raise not_of(index, checkpoint, search.rows[0], arch)
    return _nearest(index, checkpoint)


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for: any architecture, or one.

    Attributes:
        index: The architectures.
        rows: Rows of the index that are meant; None for all.
        arch: Their name; None for all.
        size: Height and width of the images in pixels, where they are known.
    """

    index: ArchitectureIndex
    rows: tuple[int, ...] | None
    arch: str | None
    size: Size | None

    def of(self, checkpoint: ForeignCheckpoint) -> Identification | None:
        """Return the first of the comparisons that gives a result.

        The file's own names are enough where nothing is left over. Else another code base may name
        it, whose table knows more: what a normalizer says, what must be joined.
        """
        plain = self._by_names(NamedFile(checkpoint=checkpoint))
        # Leftovers may compute something: a normalizer, parts of a qkv that another code base
        # names.
        if plain is not None and not plain.checkpoint.unused:
            return plain
        return (
            # From the surest to the least sure: names, timm's own conversion, order, shapes of
            # modules.
            self._first(read_as_code_bases(checkpoint))
            or plain
            or self._first(self._converted(checkpoint))
            or self._by_order(checkpoint)
            or self._by_trees(checkpoint)
        )

    def _first(self, files: Iterator[NamedFile]) -> Identification | None:
        return next((found for file in files if (found := self._by_names(file))), None)

    def _converted(self, checkpoint: ForeignCheckpoint) -> Iterator[NamedFile]:
        if self.arch is None or not self.arch.startswith(TORCHVISION_PREFIX):
            yield from converted_by_timm(checkpoint, self.arch)

    def _by_names(self, file: NamedFile) -> Identification | None:
        checkpoint, rows = file.checkpoint, self.rows
        if file.architecture is not None:
            rows = self.index.find("timm", file.architecture)
        tensors = relevant_tensors({**checkpoint.tensors, **checkpoint.beside})
        ordered = checkpoint.is_ordered and numbers_ascend(name for name, _ in tensors)
        if rows is None:
            bodies = find_bodies(self.index, tensors, ordered=ordered, size=self.size)
        else:
            bodies = _bodies_of_rows(self.index, tensors, rows, ordered=ordered, size=self.size)
        if not bodies:
            return None
        # Only now: the refusal holds for a file whose names and shapes fit, not for any that look
        # alike.
        if file.refusal:
            raise not_computed(checkpoint, file.summary, file.refusal)
        body, note, projects = _one_of(bodies, checkpoint)
        if projects:
            body = without_heads(body)
        # A preference reads the file under the prefix that was found, so that comes first.
        found = checkpoint.using(body.prefix, ())
        candidates = sorted(body.candidates, key=lambda c: preference(c, found, file.prefers))
        candidates = [replace(c, arguments={**file.arguments, **c.arguments}) for c in candidates]
        notes = (*checkpoint.notes, note) if note else checkpoint.notes
        found = replace(found.using(body.prefix, candidates[0].unused), notes=notes)
        return Identification(checkpoint=found, candidates=tuple(candidates), match="names")

    def _by_order(self, checkpoint: ForeignCheckpoint) -> Identification | None:
        # safetensors sorts tensors by size and name: their order says nothing about the model's.
        if not checkpoint.is_ordered:
            return None
        for reading in checkpoint.readings():
            tensors = relevant_tensors(reading.state)
            found = self._in_order(tensors)
            if found:
                outside = relevant_tensors(reading.outside)
                found = [with_linear_beside(candidate, outside) for candidate in found]
                found.sort(key=lambda candidate: preference(candidate, reading))
                if found[0].classifier:
                    reading = reading.using(reading.prefix, found[0].unused)
                return Identification(checkpoint=reading, candidates=tuple(found), match="order")
        return None

    def _in_order(self, tensors: Named) -> list[Candidate]:
        if self.rows is None:
            return match_order(self.index, tensors)
        if not numbers_ascend(name for name, _ in tensors):
            return []
        found = (order_candidate(self.index, row, tensors) for row in self.rows)
        return [candidate for candidate in found if candidate is not None][:1]

    def _by_trees(self, checkpoint: ForeignCheckpoint) -> Identification | None:
        names = None if self.rows is None else {self.index.architectures[r].name for r in self.rows}
        for reading in checkpoint.readings():
            found = match_trees(self.index, relevant_tensors(reading.state))
            found = [c for c in found if names is None or c.architecture.name in names]
            if found:
                found.sort(key=lambda candidate: preference(candidate, reading))
                return Identification(checkpoint=reading, candidates=tuple(found), match="names")
        return None


def _bodies_of_rows(
    index: ArchitectureIndex,
    tensors: Named,
    rows: tuple[int, ...],
    *,
    ordered: bool,
    size: Size | None,
) -> list[Body]:
    found = []
    for prefix in body_prefixes(index, [name for name, _ in tensors]):
        view = View.of(tensors, prefix, ordered=ordered, size=size)
        candidates = bodies_of(index, view, rows)
        if candidates:
            length = len(view.inside) - len(candidates[0].unused)
            found.append(Body(prefix=prefix, tensors=length, candidates=tuple(candidates[:1])))
    return found


def _one_of(bodies: list[Body], checkpoint: ForeignCheckpoint) -> tuple[Body, str | None, bool]:
    """Choose a network of several; return it, the note on it, and whether its head projects.

    Raises:
        CheckpointError: Nothing says which one.
    """
    by_prefix = {body.prefix: body for body in bodies}
    # A siamese network saves one set of weights twice; then the choice does not matter.
    if len(bodies) == 1 or _all_equal(list(by_prefix), checkpoint):
        return bodies[0], None, False
    # One averaged copy and one raw: the average is what the authors evaluate.
    averaged = [prefix for prefix in by_prefix if is_averaged(prefix)]
    if len(averaged) == 1:
        note = f"The averaged weights in {printable(averaged[0])}* are used."
        return by_prefix[averaged[0]], note, False
    choice = choose(list(by_prefix), self_distilled=distills_itself(checkpoint.tensors))
    if choice is None:
        raise several_sets(checkpoint.path, by_prefix)
    return by_prefix[choice.name], choice.note, choice.projects


def _all_equal(prefixes: list[str], checkpoint: ForeignCheckpoint) -> bool:
    """Return whether networks share their weights, as the two branches of a siamese network do."""
    first, *others = (checkpoint.with_prefix(prefix).state for prefix in prefixes)
    return all(
        other.keys() == first.keys() and all(torch.equal(other[n], first[n]) for n in first)
        for other in others
    )


def _with_one_classifier(found: Identification, asked: str | None) -> Identification:
    """Return the identification with the classifier that is asked for.

    Raises:
        CheckpointError: There are several, and none is asked for; or there is none of that name.
    """
    best = found.best
    if asked is None and len(best.classifiers) < 2:
        return found
    listed = ", ".join(map(printable, best.classifiers[:_SHOWN]))
    if asked is None:
        more = ", ..." if len(best.classifiers) > _SHOWN else ""
        raise CheckpointError(
            f"{found.checkpoint.path} has several classifiers: {listed}{more}.",
            reason="Each is a linear layer whose inputs are the features.",
            hint=f"Say which one is meant: --classifier-layer {printable(best.classifiers[0])}.",
        )
    return _with_named_classifier(found, asked)


def _with_named_classifier(found: Identification, asked: str) -> Identification:
    checkpoint = found.checkpoint
    shapes = dict(relevant_tensors({**checkpoint.tensors, **checkpoint.beside}))
    candidates = [with_named_classifier(c, asked, shapes) for c in found.candidates]
    if candidates[0] is None:
        listed = ", ".join(map(printable, found.best.classifiers[:_SHOWN]))
        raise CheckpointError(
            f"{checkpoint.path} has no classifier called {asked!r}.",
            reason="There is no linear layer of that name whose inputs are the features.",
            hint=f"Linear layers that fit: {listed or 'none'}.",
        )
    kept = tuple(candidate for candidate in candidates if candidate is not None)
    unused = checkpoint.using(checkpoint.prefix, kept[0].unused)
    return replace(found, checkpoint=unused, candidates=kept)


def _nearest(index: ArchitectureIndex, checkpoint: ForeignCheckpoint) -> Identification:
    """Return the reading with the largest overlap, and what it overlaps with."""
    found = [
        (match_overlap(index, relevant_tensors(reading.state), limit=OVERLAPS_SHOWN), reading)
        for reading in checkpoint.readings()
    ]
    # `max` keeps the first of equals, which is the reading with the longest prefix.
    overlaps, reading = max(found, key=lambda pair: pair[0][0].score if pair[0] else 0.0)
    return Identification(
        checkpoint=reading, candidates=tuple(overlaps), match="overlap" if overlaps else None
    )


def _rows_of(index: ArchitectureIndex, arch: str) -> tuple[int, ...]:
    """Return rows of a name: timm's first, unless it says torchvision."""
    arch = current_name(arch)
    short = arch.removeprefix(TORCHVISION_PREFIX)
    rows = index.find("torchvision", short)
    if short == arch:
        rows = (*index.find("timm", arch.partition(".")[0]), *rows)
    if rows:
        return rows
    known = sorted({a.name for a in index.architectures})
    near = get_close_matches(short.partition(".")[0], known, n=4, cutoff=0.5)
    raise UnrecognizedCheckpointError(
        f"There is no architecture named {arch!r}.",
        reason="Neither timm nor torchvision has it.",
        hint=f"Did you mean {', '.join(near)}?" if near else "Leave --arch out to search.",
    )
