"""The check that a written file holds what it should."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.errors import VerificationError
from covtool.surgery.report import same_bytes


def verify(path: Path, model: nn.Module, source: nn.Module, names: Sequence[str]) -> None:
    """Read a file back and compare it with its source and with the model in memory.

    Raises:
        VerificationError: The file does not open, a tensor of `names` differs from the source's, or
            the answers differ.
    """
    reloaded = reopened(path)
    # Against the source in memory, not the operated model: a tensor that an operation touched by
    # mistake would agree with itself.
    before, after = source.state_dict(), reloaded.state_dict()
    for name in names:
        if not same_bytes(before[name], after[name]):
            raise VerificationError(f"{name!r} differs from the source; nothing was written.")
    require_same_answers(reloaded, model)
