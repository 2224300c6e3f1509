"""A converted network's head on feature maps that are kept: what follows its tap, and no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.comparing.map_store import MapStore
from covtool.surgery import HeadPlan, branches_of, pooling_of

VECTORS = "classifier input"
"""Name of what the unchanged network gives its classifier."""
LABELS = "labels"


@dataclass(frozen=True, slots=True)
class KeptBatches:
    """The numbers of the batches with the labels: a loader for a `HeadOnMaps`."""

    store: MapStore

    def __len__(self) -> int:
        return self.store.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(self.store.batches):
            yield torch.tensor(number), self.store.batch(LABELS, number)


class HeadOnMaps(nn.Module):
    """Pooling and classifier of a converted network, under their paths, on kept maps.

    Its input is the number of a batch. So `covtool.surgery.fit_head_` calibrates it as it would
    the network, and the network's own layers are not computed again.

    Args:
        converted: Result of `apply_head` for `plan`.
        plan: The plan.
        store: The maps of all images.
        map_names: Name in `store` of the map of each tap, in their order.
    """

    def __init__(
        self, converted: nn.Module, plan: HeadPlan, store: MapStore, map_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._plan, self._store, self._map_names = plan, store, tuple(map_names)
        pooling = pooling_of(converted, plan)
        if pooling is not None:
            # A fused pooling lies within the network's own, which is not needed here.
            place = nn.Module() if plan.spec.fuse else pooling
            _put(self, plan.sites.pooling, place)
            if plan.spec.fuse:
                place.second_order = pooling
        _put(self, plan.sites.classifier, converted.get_submodule(plan.sites.classifier))
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the logits of the batch of this number."""
        return self.get_submodule(self._plan.sites.classifier)(self.features(int(batch)))

    def features(self, batch: int) -> Tensor:
        """Return the classifier's input for the batch of this number, (b, in_features)."""
        if self._plan.spec.own_average:
            return self._kept(VECTORS, batch)
        # Each branch on its map: what catches the others' in a network has nothing to catch here.
        branches = branches_of(self, self._plan)
        maps = (self._kept(name, batch) for name in self._map_names)
        pooled = [branch(m) for branch, m in zip(branches, maps, strict=True)]
        if self._plan.spec.fuse:
            first = self._kept(VECTORS, batch)
            pooled = [first, *(vector.to(first.dtype) for vector in pooled)]
        return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]

    def _kept(self, name: str, batch: int) -> Tensor:
        weight = self.get_submodule(self._plan.sites.classifier).weight
        return self._store.batch(name, batch).to(weight.device)


def needs_map(plan: HeadPlan) -> bool:
    """Return whether a head pools a map itself."""
    return not plan.spec.own_average


def needs_vectors(plan: HeadPlan) -> bool:
    """Return whether a head takes what the unchanged network gives its classifier."""
    return plan.spec.own_average or bool(plan.spec.fuse)


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path, whose parents are made where they are missing."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)
