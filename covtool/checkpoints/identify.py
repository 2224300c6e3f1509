"""Recognize an architecture by the tensors of a checkpoint alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.backbones.architectures import load_index
from covtool.backbones.create import TORCHVISION_PREFIX
from covtool.backbones.index import ArchitectureIndex
from covtool.backbones.published_names import current_name
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.key_report import compare_keys
from covtool.checkpoints.matching import (
    Candidate,
    Match,
    Named,
    match_names,
    match_order,
    match_overlap,
    names_candidate,
    order_candidate,
    relevant_tensors,
)
from covtool.errors import UnrecognizedCheckpointError
from covtool.progress import Track, silent

OVERLAPS_SHOWN = 10

# Heads that re-identification (torchreid, fast-reid) puts behind a classification backbone.
OTHER_HEADS = ("classifier.", "bottleneck.", "heads.")

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
        """The candidate that is taken unless somebody says otherwise."""
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
    checkpoint: ForeignCheckpoint | str | Path, *, arch: str | None = None, track: Track = silent
) -> Identification:
    """Find the architectures, of all that timm and torchvision have, that fit a checkpoint.

    Three comparisons, until one gives a result: names and shapes are equal, apart from the
    classifier's outputs and the input channels; shapes are equal in the same order under other
    names; the largest overlap. An overlap is a list to look at, never an answer.

    Args:
        checkpoint: A checkpoint, or its path.
        arch: The architecture, where it is known: ``resnet50``, ``torchvision:resnet50``.
        track: Shows the progress, should unknown architectures have to be learned.

    Returns:
        Of equal candidates first the one that the file itself or its name tells, then timm's.

    Raises:
        UnrecognizedCheckpointError: `arch` does not exist, or the tensors do not fit it.
        CheckpointError: `checkpoint` is a path, and cannot be read.
    """
    if not isinstance(checkpoint, ForeignCheckpoint):
        checkpoint = read_checkpoint(checkpoint)
    index = load_index(track)
    readings = [(reading, relevant_tensors(reading.state)) for reading in checkpoint.readings()]
    if arch is not None:
        return _as_told(index, checkpoint, readings, arch)
    bodies = [(body, relevant_tensors(body.state)) for body in _without_other_heads(readings)]
    tries = (("names", match_names, readings), ("names", _match_body, bodies))
    for match, matching, read in (*tries, ("order", match_order, readings)):
        for reading, tensors in read:
            found = matching(index, tensors)
            if found:
                found.sort(key=lambda candidate: _preference(candidate, reading))
                return Identification(checkpoint=reading, candidates=tuple(found), match=match)
    return _nearest(index, readings)


def _without_other_heads(
    readings: list[tuple[ForeignCheckpoint, Named]],
) -> list[ForeignCheckpoint]:
    bodies = [(reading, reading.without(OTHER_HEADS)) for reading, _ in readings]
    return [body for reading, body in bodies if body is not reading and body.state]


def _match_body(index: ArchitectureIndex, tensors: Named) -> list[Candidate]:
    """Candidates whose own classifier has another name than the heads that were left out."""

    def foreign(candidate: Candidate) -> bool:
        own = tuple(f"{name}." for name in candidate.architecture.classifiers)
        return not any(head.startswith(own) for head in OTHER_HEADS)

    return [c for c in match_names(index, tensors) if c.num_classes is None and foreign(c)]


def unrecognized(identification: Identification) -> UnrecognizedCheckpointError:
    """No architecture fits; the nearest are named, with what differs from the first."""
    checkpoint, best = identification.checkpoint, identification.best
    if best is None:
        return UnrecognizedCheckpointError(
            f"{checkpoint.path} is of no architecture that timm or torchvision has.",
            reason="Not one of its tensors has the shape of one of theirs.",
            hint="Is it a checkpoint of an image classifier? See covtool inspect.",
        )
    nearest = ", ".join(f"{c.name} ({c.score:.0%})" for c in identification.candidates[:3])
    index = load_index()
    row = index.find(best.architecture.library, best.architecture.name)[0]
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} is of no architecture that timm or torchvision has.",
        reason=f"Nearest, by the share of tensors that agree: {nearest}.",
        hint=f"{_difference(index, row, checkpoint)}\n"
        "If you know the architecture, name it with --arch.",
    )


def _nearest(
    index: ArchitectureIndex, readings: list[tuple[ForeignCheckpoint, Named]]
) -> Identification:
    """The reading with the largest overlap, and what it overlaps with."""
    found = [(match_overlap(index, t, limit=OVERLAPS_SHOWN), reading) for reading, t in readings]
    overlaps, reading = max(found, key=lambda pair: pair[0][0].score if pair[0] else 0.0)
    return Identification(
        checkpoint=reading, candidates=tuple(overlaps), match="overlap" if overlaps else None
    )


def _as_told(
    index: ArchitectureIndex,
    checkpoint: ForeignCheckpoint,
    readings: list[tuple[ForeignCheckpoint, Named]],
    arch: str,
) -> Identification:
    rows = _rows_of(index, arch)
    for reading, tensors in readings:
        for row in rows:
            candidate = names_candidate(index, row, dict(tensors)) or order_candidate(
                index, row, tensors
            )
            if candidate is not None:
                return Identification(
                    checkpoint=reading, candidates=(candidate,), match=candidate.match
                )
    raise UnrecognizedCheckpointError(
        f"{checkpoint.path} does not fit {arch}.",
        reason="Names and shapes differ, beyond the number of classes and of input channels.",
        hint=f"{_difference(index, rows[0], checkpoint)}\n"
        "Leave --arch out to see which architectures are nearest: covtool inspect.",
    )


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
    expected, found = dict(index.tensors(row)), dict(relevant_tensors(checkpoint.state))
    heads = tuple(f"{name}." for name in index.architectures[row].classifiers)
    for name in expected:  # another number of classes is no difference
        if heads and name.startswith(heads) and found.get(name, ())[1:] == expected[name][1:]:
            expected[name] = found.get(name, expected[name])
    report = compare_keys(expected, found)
    return f"Compared with {index.architectures[row].name}:\n{report}"


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
