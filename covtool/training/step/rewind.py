"""The start of an update: random numbers and statistics, which a forward pass changes."""

from itertools import chain

import torch
from torch import Tensor, nn

from covtool.training.run.random_state import capture_generators, set_generators


class Rewind:
    """Remembers where an update starts, so that it can be tried again or not done at all.

    A batch that is not finite poisons the running statistics of every batch norm, and one that
    does not fit into memory leaves some of them updated.

    Args:
        model: The model, in the modes that the update has it in: layers in eval mode keep their
            statistics.

    Attributes:
        may_retry: Whether the update may be tried again from here: until its weights change.
        statistics: The buffers of floating-point numbers that the forward pass may change.
    """

    def __init__(self, model: nn.Module) -> None:
        self.may_retry = True
        self._generators = capture_generators()
        self._buffers = _by_dtype(model)
        self._kept = [[torch.empty_like(b) for b in group] for group in self._buffers]
        self._copy(self._kept, self._buffers)
        self.statistics = [b for b in chain(*self._buffers) if b.is_floating_point()]

    @torch.no_grad()
    def rewind_(self) -> None:
        """Bring statistics and random number generators back to the start."""
        self._copy(self._buffers, self._kept)
        set_generators(self._generators)

    @staticmethod
    def _copy(targets: list[list[Tensor]], sources: list[list[Tensor]]) -> None:
        for target, source in zip(targets, sources, strict=True):
            torch._foreach_copy_(target, source)  # one kernel for all, as in torch's optimizers


def _by_dtype(model: nn.Module) -> list[list[Tensor]]:
    # The fused copy takes tensors of one type, and counters of batches are integers.
    layers = (m for m in model.modules() if m.training)
    groups: dict[torch.dtype, list[Tensor]] = {}
    for buffer in chain.from_iterable(m.buffers(recurse=False) for m in layers):
        groups.setdefault(buffer.dtype, []).append(buffer)
    return list(groups.values())
