"""Whether a written file holds what it should."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.conversion.records import ConversionPlan
from covtool.errors import VerificationError


def untouched(plan: ConversionPlan) -> tuple[str, ...]:
    """Names of the tensors that no operation touches."""
    touched = [f"{plan.head.sites.classifier}."] if plan.head else []
    for report in plan.convolutions:
        norms = report.calibration.batch_norms if report.calibration else ()
        touched += [f"{path}.running_" for path in norms]
    return tuple(name for name in plan.keys.kept if not name.startswith(tuple(touched)))


def verify(path: Path, model: nn.Module, source: nn.Module, names: Sequence[str]) -> None:
    """Read a file back and compare it with its source and with the model in memory.

    Raises:
        VerificationError: The file does not open, a tensor of `names` differs from the source's, or
            the answers differ.
    """
    reloaded = reopened(path)
    before, after = source.state_dict(), reloaded.state_dict()
    for name in names:
        if not _same_bytes(before[name], after[name]):
            raise VerificationError(f"{name!r} is not what it was in the source; nothing written.")
    require_same_answers(reloaded, model)


def _same_bytes(first: Tensor, second: Tensor) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    as_bytes = [t.contiguous().flatten().view(torch.uint8) for t in (first, second)]
    return torch.equal(*as_bytes)
