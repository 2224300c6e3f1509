"""Whether a written file holds what it should."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from covtool.checkpoints.model_file import load
from covtool.errors import VerificationError
from covtool.surgery.report import same_bytes

_OUTPUT_TOLERANCE = 1e-5


def verify(path: Path, model: nn.Module, source: nn.Module, names: Sequence[str]) -> None:
    """Read a file back and compare it with its source and with the model in memory.

    Raises:
        VerificationError: A tensor of `names` differs from the source's, or the answers differ.
    """
    reloaded = load(path)
    before, after = source.state_dict(), reloaded.state_dict()
    for name in names:
        if not same_bytes(before[name], after[name]):
            raise VerificationError(f"{name!r} is not what it was in the source; nothing written.")
    images = reloaded.recipe.input
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, images.channels, *images.size, generator=generator)
    image = image.to(next(model.parameters()).dtype)
    with torch.no_grad():
        expected, got = model(image), reloaded(image)
    if not torch.allclose(expected, got, rtol=_OUTPUT_TOLERANCE, atol=_OUTPUT_TOLERANCE):
        worst = (expected - got).abs().max().item()
        raise VerificationError(
            f"The reloaded model answers differently, by up to {worst:.2g}; nothing was written.",
            hint="Please report this, with the output of covtool inspect on the source.",
        )
