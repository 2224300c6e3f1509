"""`covtool card`: the model card of any model, as text or in a file."""

import re
from dataclasses import dataclass
from pathlib import Path

from covtool.atomic import require_writable, written_whole
from covtool.atomic.formats import require_card_name
from covtool.backbones.names import HUB_PREFIX
from covtool.checkpoints.hub import split_name
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.sharing.card import card_text
from covtool.sharing.card_sections import Usage
from covtool.sharing.plain_timm import why_timm_does_not_open
from covtool.specs import ModelSource

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_USUAL = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCard:
    """A model card.

    Attributes:
        text: The card, Markdown.
        path: File that it was written to; None without one.
        notes: Choices that were made in opening the model, in sentences.
    """

    text: str
    path: Path | None
    notes: tuple[str, ...]


def write_card(
    source: ModelSource | str | Path, output: Path | None = None, *, overwrite: bool = False
) -> WrittenCard:
    """Return the card of a model, and write it to a file if there is one to write.

    Args:
        source: The model, or its name alone.
        output: File to write, ``.md``; None for none.
        overwrite: Whether to replace a file.

    Raises:
        ArgumentError: `output` is not called ``.md``, or cannot be written.
        CheckpointError: The model cannot be opened.
    """
    source = ModelSource.of(source)
    if output is not None:
        require_card_name(output)
        require_writable(output, overwrite=overwrite)
    opened = open_model(source)
    text = _card_of(opened, source.name)
    if output is not None:
        with written_whole(output, overwrite=overwrite) as file:
            file.write_text(text, encoding="utf-8")
    return WrittenCard(text=text, path=output, notes=opened.notes)


def _card_of(opened: OpenedModel, name: str) -> str:
    is_own, file = opened.is_own, opened.checkpoint
    usage = Usage(
        repo=split_name(name)[0] if is_own and name.startswith(HUB_PREFIX) else None,
        file=_shown_file(opened),
        with_timm=is_own and why_timm_does_not_open(opened.model, file.path) is None,
        is_own=is_own,
    )
    return card_text(opened.recipe, usage, assumptions=opened.assumptions)


def _shown_file(opened: OpenedModel) -> str:
    """Return the file's name, where it stands in a command and in Python as it is."""
    name = opened.checkpoint.path.name if opened.checkpoint is not None else _USUAL
    return name if _PLAIN_NAME.fullmatch(name) else _USUAL
