"""The check that a file just written opens, and answers like the model that is in it."""

from pathlib import Path

import torch
from torch import nn

from covtool.backbones.module_modes import in_eval_mode
from covtool.checkpoints.model_file import load
from covtool.errors import CheckpointError, VerificationError

IMAGES = 2
TOLERANCE = 1e-5  # of logits, absolute and relative
_REPORT = "Please report this, with the output of covtool inspect on the source."


def reopened(path: Path) -> nn.Module:
    """Return the model of a file that was just written; the random numbers are as before.

    Raises:
        VerificationError: The file does not open.
    """
    # Verification must not change what a seed gives afterwards.
    with torch.random.fork_rng(devices=[]):  # a model is built with random weights
        try:
            return load(path)
        except CheckpointError as problem:
            raise VerificationError(
                "The file that was written does not open again.", reason=str(problem), hint=_REPORT
            ) from problem


def require_same_answers(
    reloaded: nn.Module, model: nn.Module, *, tolerance: float = TOLERANCE
) -> None:
    """Compare what a file holds with what it was written from, on two images of noise.

    In eval mode, on the device of `model`.

    Args:
        reloaded: Result of `reopened`; moved to that device.
        model: Model that was written; left as it is.
        tolerance: Largest difference of logits, absolute and relative.

    Raises:
        VerificationError: They answer differently.
    """
    parameter, images = next(model.parameters()), reloaded.recipe.input
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(IMAGES, images.channels, *images.size, generator=generator)
    noise = noise.to(parameter.device, parameter.dtype)
    expected, got = _answers(model, noise), _answers(reloaded.to(parameter.device), noise)
    if not torch.allclose(expected, got, rtol=tolerance, atol=tolerance, equal_nan=True):
        worst = (expected - got).abs().max().item()
        raise VerificationError(
            f"The reloaded model answers differently, by up to {worst:.2g}; nothing was written.",
            hint=_REPORT,
        )


@torch.no_grad()
def _answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the logits of one image at a time: two may not fit into the memory."""
    with in_eval_mode(model):
        return torch.cat([model(image[None]) for image in images])
