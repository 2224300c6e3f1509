"""Refusals of checkpoints that fit no architecture: what differs, and whose names they are."""

from collections.abc import Iterator

from covtool.backbones.architectures import load_index
from covtool.backbones.index import ArchitectureIndex
from covtool.backbones.names import TORCHVISION_PREFIX
from covtool.checkpoints.bodies import body_prefixes
from covtool.checkpoints.code_bases import named_code_base
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.identification import Identification
from covtool.checkpoints.key_report import KeyReport, compare_keys
from covtool.checkpoints.matching import relevant_tensors
from covtool.checkpoints.positions import may_differ
from covtool.errors import UnrecognizedCheckpointError

LEAST_OVERLAP = 0.5  # what shares less is not near


class UnknownArchitectureError(UnrecognizedCheckpointError):
    """No architecture fits a checkpoint that was read, or several do.

    Args:
        identification: What was found.
        message: What is wrong.
        reason: Why.
        hint: What to do.
    """

    def __init__(
        self,
        identification: Identification,
        message: str,
        *,
        reason: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.identification = identification


def unrecognized(identification: Identification) -> UnknownArchitectureError:
    """Return the error that no architecture fits, with the nearest and how the first differs."""
    checkpoint, best = identification.checkpoint, identification.best
    index = load_index()
    row, whose = _stated_row(index, checkpoint), named_code_base(checkpoint.tensors)
    near = [c for c in identification.candidates[:3] if c.score >= LEAST_OVERLAP]
    message = f"{checkpoint.path} is of no architecture that timm or torchvision has."
    if row is None and (whose is not None or not near):
        if whose is not None:
            reason = f"The names are those of {whose}."
        elif best is not None:
            reason = "None of theirs shares half of its tensors."
        else:
            reason = "Not one of its tensors has the shape of one of theirs."
        return UnknownArchitectureError(identification, message, reason=reason, hint=_HINT)
    if row is not None:
        name = index.architectures[row].name
        reason = f"It says that it is a {name}, and differs from that."
    else:
        nearest = ", ".join(f"{c.name} ({c.score:.0%})" for c in near)
        reason = f"Nearest, by the share of tensors that agree: {nearest}."
        row = index.find(best.architecture.library, best.architecture.name)[0]
    unordered = "" if checkpoint.is_ordered else _UNORDERED
    return UnknownArchitectureError(
        identification,
        message,
        reason=reason,
        hint=f"{_difference(index, row, checkpoint)}\n{unordered}"
        "If you know the architecture, name it with --arch.",
    )


def not_computed(
    checkpoint: ForeignCheckpoint, whose: str, reason: str
) -> UnrecognizedCheckpointError:
    """Return the error for a network that is understood, and that no architecture computes."""
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} is of {whose}, which no architecture of timm or torchvision is like.",
        reason=reason,
        hint="Compute features with its own code, and give them to covtool evaluate "
        "--distances-from FILE.",
    )


_HINT = (
    "Is it a checkpoint of an image classifier? See covtool inspect. If you know the architecture, "
    "name it with --arch."
)
_NOT_SQUARE = (
    "The positions are not those of a square: give height and width of the images, "
    "--img-size 256x128."
)
_UNORDERED = (
    "A safetensors file does not keep the order of the tensors, which might tell more: give the "
    ".pth file that it was made from.\n"
)


def not_of(
    index: ArchitectureIndex, checkpoint: ForeignCheckpoint, row: int, arch: str
) -> UnrecognizedCheckpointError:
    """Return the error for tensors that are not those of the architecture that is named."""
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} does not fit {arch}.",
        reason="Names and shapes differ, beyond the number of classes and of input channels.",
        hint=f"{_difference(index, row, checkpoint)}\n"
        "Leave --arch out to see which architectures are nearest: covtool inspect.",
    )


def _stated_row(index: ArchitectureIndex, checkpoint: ForeignCheckpoint) -> int | None:
    """Return the row of the architecture that the file says it is of."""
    name = checkpoint.stated_architecture or ""
    name = name.removeprefix(TORCHVISION_PREFIX).partition(".")[0]
    rows = (*index.find("timm", name), *index.find("torchvision", name))
    return rows[0] if rows else None


def _difference(index: ArchitectureIndex, row: int, checkpoint: ForeignCheckpoint) -> str:
    """Return what differs from an architecture, behind the prefix that leaves least."""
    reports = [_report(index, row, reading) for reading in _whole_and_readings(checkpoint)]
    # Tensors that are not expected do not count: they may be of something beside the network.
    report = min(reports, key=lambda report: len(report.missing) + len(report.other_shape))
    compared = f"Compared with {index.architectures[row].name}:\n{report}"
    of_grid = report.other_shape and all(map(may_differ, report.other_shape))
    if of_grid and not (report.missing or report.unexpected):
        return f"{compared}\n{_NOT_SQUARE}"
    return compared


def _whole_and_readings(checkpoint: ForeignCheckpoint) -> Iterator[ForeignCheckpoint]:
    yield from checkpoint.readings()
    for prefix in body_prefixes(load_index(), checkpoint.tensors):
        yield checkpoint.with_prefix(prefix)


def _report(index: ArchitectureIndex, row: int, checkpoint: ForeignCheckpoint) -> KeyReport:
    expected, found = dict(index.tensors(row)), dict(relevant_tensors(checkpoint.state))
    heads = tuple(f"{name}." for name in index.architectures[row].classifiers)
    for name in expected:  # another number of classes is no difference
        if heads and name.startswith(heads) and found.get(name, ())[1:] == expected[name][1:]:
            expected[name] = found.get(name, expected[name])
    return compare_keys(expected, found)
