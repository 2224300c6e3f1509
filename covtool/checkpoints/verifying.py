"""Whether a file that was just written opens, and answers like the model that is in it."""

from pathlib import Path

import torch
from torch import nn

from covtool.checkpoints.model_file import load
from covtool.errors import CheckpointError, VerificationError

IMAGES = 2
TOLERANCE = 1e-5  # of logits, absolute and relative
_REPORT = "Please report this, with the output of covtool inspect on the source."


def require_same_answers(
    path: Path, model: nn.Module, *, tolerance: float = TOLERANCE
) -> nn.Module:
    """The model of a file, once it has answered like the one it was written from.

    Two images of noise go through both, in eval mode, on the device of `model`. Modes and random
    numbers are as before.

    Args:
        path: What was written.
        model: That is in it, on any device; left as it is.
        tolerance: How much logits may differ, absolute and relative.

    Raises:
        VerificationError: The file does not open, or its model answers differently.
    """
    with torch.random.fork_rng(devices=[]):  # a model is built with random weights
        try:
            reloaded = load(path)
        except CheckpointError as problem:
            raise VerificationError(
                "The file that was written does not open again.", reason=str(problem), hint=_REPORT
            ) from problem
    parameter, images = next(model.parameters()), reloaded.recipe.input
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(IMAGES, images.channels, *images.size, generator=generator)
    noise = noise.to(parameter.device, parameter.dtype)
    expected, got = _answers(model, noise), _answers(reloaded.to(parameter.device), noise)
    if not torch.allclose(expected, got, rtol=tolerance, atol=tolerance, equal_nan=True):
        worst = (expected - got).abs().max().item()
        raise VerificationError(
            f"The reloaded model answers differently, by up to {worst:.2g}.", hint=_REPORT
        )
    return reloaded.cpu()


@torch.no_grad()
def _answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    modes = [(module, module.training) for module in model.modules()]
    try:
        return model.eval()(images)
    finally:
        for module, mode in modes:
            module.training = mode
