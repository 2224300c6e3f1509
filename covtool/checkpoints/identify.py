"""Recognize an architecture by the tensors of a checkpoint alone."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from covtool.backbones.architectures import load_index
from covtool.backbones.create import TORCHVISION_PREFIX
from covtool.backbones.index import ArchitectureIndex
from covtool.backbones.published_names import current_name
from covtool.checkpoints.bodies import Body, View, bodies_of, body_prefixes, find_bodies
from covtool.checkpoints.containers import several_sets
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.key_report import compare_keys
from covtool.checkpoints.matching import Candidate, Match, Named, relevant_tensors
from covtool.checkpoints.order_matching import match_order, numbers_ascend, order_candidate
from covtool.checkpoints.overlap import match_overlap
from covtool.checkpoints.positions import Size
from covtool.checkpoints.tree_matching import match_trees
from covtool.checkpoints.weight_sets import choose, distills_itself, is_averaged
from covtool.errors import CheckpointError, UnrecognizedCheckpointError
from covtool.progress import Track, silent

OVERLAPS_SHOWN = 10
LEAST_OVERLAP = 0.5  # what shares less is not near

# lukemelas/EfficientNet-PyTorch and what was made from it name their layers like this. They are
# ports of TensorFlow's weights and pad like TensorFlow, which timm does in its tf_ models only.
_PORTED_FROM_TENSORFLOW = re.compile(r"_conv_stem\.|_blocks\.\d+\._depthwise_conv\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Which architectures a checkpoint may be of.

    Attributes:
        checkpoint: With the prefix taken off that gave this result.
        candidates: Best first. All are equally good where `match` is ``names`` or ``order``.
        match: How they match; None where nothing does.
    """

    checkpoint: ForeignCheckpoint
    candidates: tuple[Candidate, ...]
    match: Match | None

    @property
    def is_certain(self) -> bool:
        """Whether the tensors fit the candidates, so that they can be loaded."""
        return self.match in ("names", "order")

    @property
    def best(self) -> Candidate | None:
        """The candidate that is taken unless the user names another."""
        return self.candidates[0] if self.candidates else None

    @property
    def num_classes(self) -> int | None:
        """Outputs of the checkpoint's classifier; None without one, or where it is unknown."""
        return self.best.num_classes if self.best else None

    @property
    def in_channels(self) -> int | None:
        """Input channels of the first convolution."""
        return self.best.in_channels if self.best else None

    @property
    def classifier(self) -> str | None:
        """The classifier's module in the architecture."""
        names = self.best.architecture.classifiers if self.best else ()
        return ", ".join(names) or None


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
        classifier_layer: Of a file that has several linear layers which may be it.
        size: Of the images in pixels, where it is known: position embeddings for a grid that is not
            square need it.
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
    rows = None if arch is None else _rows_of(index, arch)
    found = (
        _by_names(index, checkpoint, rows, size)
        or _by_order(index, checkpoint, rows)
        or _by_trees(index, checkpoint, rows)
    )
    if found is not None:
        return _with_one_classifier(found, classifier_layer)
    if rows is not None:
        raise _not_of(index, checkpoint, rows[0], arch)
    return _nearest(index, checkpoint)


def unrecognized(identification: Identification) -> UnrecognizedCheckpointError:
    """No architecture fits; the nearest are named, with what differs from the first."""
    checkpoint, best = identification.checkpoint, identification.best
    index = load_index()
    told = _told_row(index, checkpoint)
    near = [c for c in identification.candidates[:3] if c.score >= LEAST_OVERLAP]
    message = f"{checkpoint.path} is of no architecture that timm or torchvision has."
    if told is None and not near:
        reason = "Not one of its tensors has the shape of one of theirs."
        if best is not None:
            reason = "None of theirs shares half of its tensors."
        return UnrecognizedCheckpointError(
            message,
            reason=reason,
            hint="Is it a checkpoint of an image classifier? See covtool inspect. If you know the "
            "architecture, name it with --arch.",
        )
    if told is not None:
        name = index.architectures[told].name
        reason, row = f"It says that it is a {name}, and differs from that.", told
    else:
        nearest = ", ".join(f"{c.name} ({c.score:.0%})" for c in near)
        reason = f"Nearest, by the share of tensors that agree: {nearest}."
        row = index.find(best.architecture.library, best.architecture.name)[0]
    unordered = "" if checkpoint.is_ordered else _UNORDERED
    return UnrecognizedCheckpointError(
        message,
        reason=reason,
        hint=f"{_difference(index, row, checkpoint)}\n{unordered}"
        "If you know the architecture, name it with --arch.",
    )


_UNORDERED = (
    "A safetensors file does not keep the order of the tensors, which might tell more: give the "
    ".pth file that it was made from.\n"
)


def _by_names(
    index: ArchitectureIndex,
    checkpoint: ForeignCheckpoint,
    rows: tuple[int, ...] | None,
    size: Size | None,
) -> Identification | None:
    tensors = relevant_tensors({**checkpoint.tensors, **checkpoint.beside})
    ordered = checkpoint.is_ordered and numbers_ascend(name for name, _ in tensors)
    if rows is None:
        bodies = find_bodies(index, tensors, ordered=ordered, size=size)
    else:
        bodies = _told_bodies(index, tensors, rows, ordered=ordered, size=size)
    if not bodies:
        return None
    body, note = _one_of(bodies, checkpoint)
    found = checkpoint.using(body.prefix, body.candidates[0].unused)
    if note:
        found = replace(found, notes=(*found.notes, note))
    candidates = sorted(body.candidates, key=lambda c: _preference(c, found))
    found = found.using(body.prefix, candidates[0].unused)
    return Identification(checkpoint=found, candidates=tuple(candidates), match="names")


def _told_bodies(
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


def _one_of(bodies: list[Body], checkpoint: ForeignCheckpoint) -> tuple[Body, str | None]:
    """The network that is used of several in a file, and the sentence that says so.

    Raises:
        CheckpointError: Nothing says which one.
    """
    by_prefix = {body.prefix: body for body in bodies}
    if len(bodies) == 1 or _all_equal(list(by_prefix), checkpoint):
        return bodies[0], None
    averaged = [prefix for prefix in by_prefix if is_averaged(prefix)]
    if len(averaged) == 1:
        return by_prefix[averaged[0]], f"The averaged weights in {averaged[0]}* are used."
    choice = choose(list(by_prefix), self_distilled=distills_itself(checkpoint.tensors))
    if choice is None:
        raise several_sets(checkpoint.path, by_prefix)
    return by_prefix[choice.name], choice.note


def _all_equal(prefixes: list[str], checkpoint: ForeignCheckpoint) -> bool:
    """Whether networks share their weights, as the two branches of a siamese network do."""
    first, *others = (checkpoint.with_prefix(prefix).state for prefix in prefixes)
    return all(
        other.keys() == first.keys() and all(torch.equal(other[n], first[n]) for n in first)
        for other in others
    )


def _by_order(
    index: ArchitectureIndex, checkpoint: ForeignCheckpoint, rows: tuple[int, ...] | None
) -> Identification | None:
    if not checkpoint.is_ordered:
        return None
    for reading in checkpoint.readings():
        tensors = relevant_tensors(reading.state)
        if rows is None:
            found = match_order(index, tensors)
        elif numbers_ascend(name for name, _ in tensors):
            found = [c for row in rows if (c := order_candidate(index, row, tensors))][:1]
        else:
            found = []
        if found:
            found.sort(key=lambda candidate: _preference(candidate, reading))
            return Identification(checkpoint=reading, candidates=tuple(found), match="order")
    return None


def _by_trees(
    index: ArchitectureIndex, checkpoint: ForeignCheckpoint, rows: tuple[int, ...] | None
) -> Identification | None:
    told = None if rows is None else {index.architectures[row].name for row in rows}
    for reading in checkpoint.readings():
        found = match_trees(index, relevant_tensors(reading.state))
        found = [c for c in found if told is None or c.architecture.name in told]
        if found:
            found.sort(key=lambda candidate: _preference(candidate, reading))
            return Identification(checkpoint=reading, candidates=tuple(found), match="names")
    return None


def _with_one_classifier(found: Identification, asked: str | None) -> Identification:
    """The identification with the classifier that is asked for.

    Raises:
        CheckpointError: There are several, and none is asked for; or there is none of that name.
    """
    best = found.best
    if asked is None and len(best.classifiers) < 2:
        return found
    listed = ", ".join(best.classifiers)
    if asked is None:
        raise CheckpointError(
            f"{found.checkpoint.path} has several classifiers: {listed}.",
            reason="Each is a linear layer whose inputs are the features.",
            hint=f"Say which one is meant: --classifier-layer {best.classifiers[0]}.",
        )
    return _told_classifier(found, asked)


def _told_classifier(found: Identification, asked: str) -> Identification:
    from covtool.checkpoints.bodies import with_named_classifier

    checkpoint = found.checkpoint
    shapes = dict(relevant_tensors({**checkpoint.tensors, **checkpoint.beside}))
    candidates = [with_named_classifier(c, asked, shapes) for c in found.candidates]
    if candidates[0] is None:
        raise CheckpointError(
            f"{checkpoint.path} has no classifier called {asked!r}.",
            reason="There is no linear layer of that name whose inputs are the features.",
            hint=f"Linear layers that fit: {', '.join(found.best.classifiers) or 'none'}.",
        )
    kept = tuple(candidate for candidate in candidates if candidate is not None)
    unused = checkpoint.using(checkpoint.prefix, kept[0].unused)
    return replace(found, checkpoint=unused, candidates=kept)


def _nearest(index: ArchitectureIndex, checkpoint: ForeignCheckpoint) -> Identification:
    """The reading with the largest overlap, and what it overlaps with."""
    found = [
        (match_overlap(index, relevant_tensors(reading.state), limit=OVERLAPS_SHOWN), reading)
        for reading in checkpoint.readings()
    ]
    overlaps, reading = max(found, key=lambda pair: pair[0][0].score if pair[0] else 0.0)
    return Identification(
        checkpoint=reading, candidates=tuple(overlaps), match="overlap" if overlaps else None
    )


def _not_of(
    index: ArchitectureIndex, checkpoint: ForeignCheckpoint, row: int, arch: str
) -> UnrecognizedCheckpointError:
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} does not fit {arch}.",
        reason="Names and shapes differ, beyond the number of classes and of input channels.",
        hint=f"{_difference(index, row, checkpoint)}\n"
        "Leave --arch out to see which architectures are nearest: covtool inspect.",
    )


def _told_row(index: ArchitectureIndex, checkpoint: ForeignCheckpoint) -> int | None:
    """The row of the architecture that the file says it is of."""
    told = (checkpoint.told_architecture or "").removeprefix(TORCHVISION_PREFIX).partition(".")[0]
    rows = (*index.find("timm", told), *index.find("torchvision", told))
    return rows[0] if rows else None


def _rows_of(index: ArchitectureIndex, arch: str) -> tuple[int, ...]:
    """Rows of a name: timm's first, unless it says torchvision."""
    arch = current_name(arch)
    short = arch.removeprefix(TORCHVISION_PREFIX)
    rows = index.find("torchvision", short)
    if short == arch:
        rows = (*index.find("timm", arch.partition(".")[0]), *rows)
    if rows:
        return rows
    from difflib import get_close_matches

    known = sorted({a.name for a in index.architectures})
    near = get_close_matches(short.partition(".")[0], known, n=4, cutoff=0.5)
    raise UnrecognizedCheckpointError(
        f"There is no architecture named {arch!r}.",
        reason="Neither timm nor torchvision has it.",
        hint=f"Did you mean {', '.join(near)}?" if near else "Leave --arch out to search.",
    )


def _difference(index: ArchitectureIndex, row: int, checkpoint: ForeignCheckpoint) -> str:
    """What differs from an architecture, behind the prefix that leaves least."""
    reports = [_report(index, row, reading) for reading in _whole_and_readings(checkpoint)]
    report = min(reports, key=lambda report: len(report.missing) + len(report.other_shape))
    return f"Compared with {index.architectures[row].name}:\n{report}"


def _whole_and_readings(checkpoint: ForeignCheckpoint) -> Iterator[ForeignCheckpoint]:
    yield from checkpoint.readings()
    for prefix in body_prefixes(load_index(), checkpoint.tensors):
        yield checkpoint.with_prefix(prefix)


def _report(index: ArchitectureIndex, row: int, checkpoint: ForeignCheckpoint) -> Any:
    expected, found = dict(index.tensors(row)), dict(relevant_tensors(checkpoint.state))
    heads = tuple(f"{name}." for name in index.architectures[row].classifiers)
    for name in expected:  # another number of classes is no difference
        if heads and name.startswith(heads) and found.get(name, ())[1:] == expected[name][1:]:
            expected[name] = found.get(name, expected[name])
    return compare_keys(expected, found)


def _preference(candidate: Candidate, checkpoint: ForeignCheckpoint) -> tuple[Any, ...]:
    """What sorts equal candidates: the most plausible one first."""
    library, name = candidate.architecture.library, candidate.architecture.name
    words = _words(checkpoint.path.stem)
    told = [
        n.removeprefix(TORCHVISION_PREFIX).partition(".")[0] for n in checkpoint.told.architectures
    ]
    ported = name.startswith("tf_") and _is_port(checkpoint.state)
    common, others = _words(name) & words, _words(name) - words
    return (
        told.index(name) if name in told else len(told),
        not ported,
        not ("torchvision" in words and library == "torchvision"),
        -len(common) if not others else 0,
        -len(common),
        len(others),
        library != "timm",
        len(name),
        name,
    )


def _words(text: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", text.lower())) - {""}


def _is_port(state: Mapping[str, Any]) -> bool:
    return any(_PORTED_FROM_TENSORFLOW.match(name) for name in state)
