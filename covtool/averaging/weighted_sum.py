"""A running sum of state dicts, from which their weighted mean comes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from covtool.errors import CheckpointError

COUNTER = "num_batches_tracked"
"""Last part of a batch norm's count of batches, the one whole number that may differ."""


class WeightedSum:
    """The sum of weighted state dicts in float64, with the models' other tensors beside it.

    Whole numbers are parts of a structure, the hashes of a sketch for example: they must be the
    same in all models. The batches that a batch norm has counted are averaged and rounded.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._fixed: dict[str, Tensor] = {}
        self._total = 0.0

    def add_(self, state: Mapping[str, Tensor], weight: float, name: str) -> "WeightedSum":
        """Add a state dict, in place, and return the sum.

        Args:
            state: State dict with the names and shapes of the others.
            weight: Its weight, not negative.
            name: Name of the model, for the error.

        Raises:
            CheckpointError: A tensor of whole numbers differs.
        """
        self._total += weight
        for key, tensor in state.items():
            if tensor.is_floating_point() or key.endswith(COUNTER):
                part = tensor.detach().to("cpu", torch.float64)
                if key in self._sums:
                    self._sums[key].add_(part, alpha=weight)
                else:
                    self._sums[key] = part * weight
            elif not torch.equal(self._fixed.setdefault(key, tensor.detach().cpu()), tensor.cpu()):
                raise CheckpointError(
                    f"{name} differs from the models before it in {key!r}.",
                    reason="It holds whole numbers that say how the others are used: an average "
                    "of them means nothing.",
                    hint="Average models that were trained from one file.",
                )
        return self

    def plus(self, state: Mapping[str, Tensor], weight: float, name: str) -> "WeightedSum":
        """Return the sum with one more state dict, as `add_`; this one stays as it is."""
        more = WeightedSum()
        more._sums = {key: tensor.clone() for key, tensor in self._sums.items()}
        more._fixed, more._total = dict(self._fixed), self._total
        return more.add_(state, weight, name)

    @torch.no_grad()
    def fill_(self, model: nn.Module) -> nn.Module:
        """Give a model the weighted mean, in its own dtypes, and return it."""
        for key, tensor in model.state_dict().items():
            if key not in self._sums:
                tensor.copy_(self._fixed[key])
                continue
            mean = self._sums[key] / self._total
            tensor.copy_(mean if tensor.is_floating_point() else mean.round())
        return model
