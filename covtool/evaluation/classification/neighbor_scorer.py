"""Distances of images to the training embeddings that a model's file keeps."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from covtool.checkpoints.kept_neighbors import neighbors_of
from covtool.ops.neighbors import Neighbors
from covtool.specs import NeighborSpec


class NeighborScorer:
    """While it is open, measures the distance of every image that goes through a model.

    The embeddings are those of the forward pass that gives the logits: nothing is computed twice.

    Args:
        model: Model with training embeddings; see `of`.
        neighbors: The embeddings.
        spec: Record of what they are.

    Example:
        with NeighborScorer.of(model) as scorer:
            logits = model(images)
            distances = scorer.take()
    """

    def __init__(self, model: nn.Module, neighbors: Neighbors, spec: NeighborSpec) -> None:
        self.model = model
        self.neighbors = neighbors
        self.spec = spec
        self._fed: Tensor | None = None
        self._distances: list[Tensor] = []

    @classmethod
    def of(cls, model: nn.Module) -> "NeighborScorer | None":
        """Return the scorer of a model that covtool has opened; None where its file keeps none."""
        neighbors = neighbors_of(model)
        return None if neighbors is None else cls(model, neighbors, model.recipe.neighbors)

    def __enter__(self) -> "NeighborScorer":
        layer = self.model.get_submodule(self.spec.layer)
        self._hooks = [
            layer.register_forward_pre_hook(self._remember),
            # After the whole pass: a layer that is called twice counts with its last input.
            self.model.register_forward_hook(self._measure),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self) -> Tensor:
        """Return the distances of the images since the last call, (N,) in float32 on the CPU.

        A distance lies between 0 and 2; the larger, the less the image is like any in training.
        """
        taken, self._distances = self._distances, []
        return torch.cat(taken) if taken else torch.empty(0)

    def _remember(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._fed = given[0].detach()

    def _measure(self, *_: Any) -> None:
        if self._fed is not None:
            found = self.neighbors.distances(self._fed, nearest=self.spec.nearest)
            self._distances.append(found)
            self._fed = None
