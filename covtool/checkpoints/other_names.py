"""A file of another code base as a file under timm's names, with what that code base tells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from covtool.checkpoints.code_bases import (
    Reading,
    read_code_bases,
    timm_arguments,
    timm_candidates,
    timm_filtered,
)
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.metadata import Statement
from covtool.checkpoints.metadata.documents import read_document
from covtool.checkpoints.positions import may_differ


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A checkpoint under names that an architecture may have.

    Attributes:
        checkpoint: Its tensors have these names.
        prefers: Regular expression over the architectures that come first among equals.
        arguments: Arguments of timm's constructor that the code base implies.
        summary: Noun phrase for the code base of the names; "" where they are the file's own.
        refusal: Reason why no architecture computes what this one does; "" where one does.
        architecture: The only one that the names are for; None for any.
    """

    checkpoint: ForeignCheckpoint
    prefers: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    refusal: str = ""
    architecture: str | None = None


def read_as_code_bases(checkpoint: ForeignCheckpoint) -> Iterator[NamedFile]:
    """Yield the file under the names that each code base's table makes of its own."""
    tensors = {**checkpoint.tensors, **checkpoint.beside}
    config = read_document(checkpoint.path.with_name("config.json"))
    for reading in read_code_bases(tensors, config=config):
        yield NamedFile(
            checkpoint=_renamed(checkpoint, reading),
            prefers=reading.prefers,
            arguments=reading.arguments,
            summary=reading.summary,
            refusal=reading.refusal,
        )


def converted_by_timm(checkpoint: ForeignCheckpoint, arch: str | None) -> Iterator[NamedFile]:
    """Yield the file as timm's own conversions give it, one architecture at a time.

    Args:
        checkpoint: Any checkpoint.
        arch: The only architecture to try; None for those that are stated or near.
    """
    for reading in checkpoint.readings():
        if arch is not None:
            found = timm_filtered(reading.state, arch)
            converted = [] if found is None else [(arch.partition(".")[0], found)]
        else:
            # A colon is in torchvision's names, for which timm has no conversion.
            named = [name for name in checkpoint.statements.architectures if ":" not in name]
            converted = timm_candidates(reading.state, named)
        for name, tensors in converted:
            note = f"The tensors' names are read as by timm's own conversion for {name}."
            yield NamedFile(
                checkpoint=replace(
                    reading,
                    tensors=_own_sizes(tensors, reading.state),
                    prefix="",
                    notes=(*reading.notes, note),
                ),
                arguments=timm_arguments(reading.state),
                summary=f"what timm converts for {name}",
                architecture=name,
            )


def _own_sizes(converted: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return converted tensors, with position embeddings as the file has them.

    timm resamples them to an architecture's default size; the file's own says its images.
    """
    return {
        name: own[name] if may_differ(name) and name in own else tensor
        for name, tensor in converted.items()
    }


def _renamed(checkpoint: ForeignCheckpoint, reading: Reading) -> ForeignCheckpoint:
    statements = checkpoint.statements
    if reading.input:
        where = reading.summary or "the normalizer in the file"
        statement = Statement(where=where, input=dict(reading.input))
        # First, as what a file's tensors show is trusted more than what anything says of it.
        statements = replace(statements, sources=(statement, *statements.sources))
    note = f"The tensors' names are read as those of {reading.summary}."
    read = (note,) if reading.summary else ()
    return replace(
        checkpoint,
        tensors=reading.tensors,
        beside={},  # they are among the tensors now, under their new names
        prefix="",
        not_tensors=(*reading.unused, *checkpoint.not_tensors),
        statements=statements,
        notes=(*checkpoint.notes, *read, *reading.notes),
    )
