"""A folder that timm opens by itself: ``config.json``, ``model.safetensors`` and a model card."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from covtool.atomic.endings import tidied_up_when_ended
from covtool.atomic.folders import require_folder
from covtool.atomic.saving import saving
from covtool.atomic.staging import staging_folder, sync
from covtool.backbones.timm_folder import open_timm_folder, timm_config
from covtool.errors import ArgumentError, OutputExistsError, VerificationError
from covtool.full_paths import absolute
from covtool.printable import first_few, printable
from covtool.sharing.card import card_text
from covtool.sharing.card_sections import Usage
from covtool.sharing.plain_timm import why_not_plain

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

_TOLERANCE = 1e-4
"""Of logits, relative to the largest: the same layers in the same order, in float32."""


def require_plain_timm(model: nn.Module) -> None:
    """Refuse a model that timm cannot build by itself.

    A gap head that leaves the network's own average is plain: only its classifier is new. Nothing
    is run or written.

    Args:
        model: Model with its recipe as ``.recipe``.

    Raises:
        ArgumentError: Something in it is not timm's; the reason says what.
    """
    reason = why_not_plain(model)
    if reason is not None:
        raise ArgumentError(
            "timm cannot open this model without covtool.",
            reason=reason,
            hint="Export it as ONNX or .pt2, or share the covtool file: covtool push.",
        )


def write_timm_folder(
    model: nn.Module,
    folder: Path,
    *,
    overwrite: bool = False,
    check: Callable[[nn.Module], None] | None = None,
    assumptions: Iterable[str] = (),
) -> Path:
    """Write a folder for ``timm.create_model('local-dir:FOLDER', pretrained=True)``.

    It appears whole or not at all, once timm has opened it and answered as the model does.

    Args:
        model: Model with its recipe as ``.recipe``; left as it is.
        folder: Folder to make; the one above it must exist.
        overwrite: Whether to replace a folder that is there, with everything in it.
        check: What else timm's model has to stand, in eval mode; None for nothing.
        assumptions: What the recipe rests on, in sentences, for the card.

    Raises:
        ArgumentError: The model is not plain timm, or no folder can be made there.
        OutputExistsError: It exists, and `overwrite` is False.
        SaveError: The disk is full, say.
        VerificationError: timm does not open what was written, or not as the same model.
    """
    require_plain_timm(model)
    folder = absolute(folder)
    with _made_whole(folder, overwrite=overwrite) as made:
        config = json.dumps(timm_config(model.recipe), indent=2)
        (made / CONFIG).write_text(f"{config}\n", encoding="utf-8")
        save_file(_plain_tensors(model), made / WEIGHTS, metadata={"format": "pt"})
        usage = Usage(with_timm=True, is_timm_folder=True)
        card = card_text(model.recipe, usage, assumptions=assumptions)
        (made / CARD).write_text(card, encoding="utf-8")
        opened = open_timm_folder(made)
        _require_same(opened, model)
        if check is not None:
            check(opened)
        _settle(made)
    return folder


@contextmanager
def _made_whole(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `folder` when the block succeeds."""
    require_replaceable(folder, overwrite=overwrite)
    with saving(folder), tidied_up_when_ended(), staging_folder(folder) as staging:
        made = staging / "new"
        made.mkdir()
        yield made
        if folder.exists():
            require_replaceable(folder, overwrite=overwrite)  # what came meanwhile stays
            folder.rename(staging / "old")  # and is removed with the staging folder
        try:
            made.rename(folder)
        except OSError:
            if (staging / "old").exists() and not folder.exists():
                shutil.move(staging / "old", folder)
            raise


def require_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where no folder can be made, or that holds something else than one of ours.

    Raises:
        ArgumentError: There is a file, a link or a folder of other things, or nothing can be
            written there.
        OutputExistsError: There is a folder of ours, and `overwrite` is False.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArgumentError(
            f"{folder} is {'a link' if folder.is_symlink() else 'no folder'}.",
            reason="The weights, their configuration and a card go into a folder of their own.",
            hint="Remove it first, or choose another place.",
        )
    if not folder.parent.is_dir():
        raise ArgumentError(
            f"There is no folder {folder.parent} to write to.",
            hint="Make it first, or choose another place.",
        )
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if there and not overwrite:
        raise OutputExistsError(folder)
    others = sorted(there - {CONFIG, WEIGHTS, CARD})
    if others:
        raise ArgumentError(
            f"{folder} is not a folder that covtool wrote for timm.",
            reason=f"It holds {first_few(others, 3, show=printable)}, which would be lost.",
            hint="Choose another place, or remove it first.",
        )
    require_folder(folder)


def _settle(made: Path) -> None:
    """Let the files reach the disk, with the rights of any file: safetensors makes private ones."""
    (made / WEIGHTS).chmod((made / CONFIG).stat().st_mode)
    for path in (*made.iterdir(), made):
        sync(path)


def _plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    # Cloned even if contiguous: safetensors refuses tensors that share their memory.
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def _require_same(opened: nn.Module, model: nn.Module) -> None:
    """Refuse what timm opened if a tensor or an answer of it is another than the model's."""
    own, read = model.state_dict(), opened.state_dict()
    for name, tensor in own.items():
        if name not in read or not torch.equal(
            read[name].cpu(), tensor.detach().cpu().to(read[name].dtype)
        ):
            raise VerificationError(f"timm reads other weights than were written, in {name!r}.")
    images = model.recipe.input
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(2, images.channels, *images.size, generator=generator)
    with torch.no_grad():
        expected = deepcopy(model).cpu().float().eval()(batch)
        answered = opened.float()(batch)
    largest = float(expected.abs().max())
    if expected.shape != answered.shape or not torch.allclose(
        answered, expected, rtol=_TOLERANCE, atol=_TOLERANCE * max(largest, 1e-6)
    ):
        raise VerificationError("timm opens the folder, and answers otherwise than the model.")
