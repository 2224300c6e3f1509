"""A converted network's head on feature maps that are kept: what follows its tap, and no more."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.comparing.map_store import MapStore
from covtool.surgery import HeadPlan, pooling_of

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
        map_name: Name of the map that is pooled in `store`.
    """

    def __init__(
        self, converted: nn.Module, plan: HeadPlan, store: MapStore, map_name: str
    ) -> None:
        super().__init__()
        self._plan, self._store, self._map_name = plan, store, map_name
        self._is_fused, self._is_own = bool(plan.spec.fuse), plan.spec.own_average
        pooling = pooling_of(converted, plan)
        if pooling is not None:
            place = nn.Module() if self._is_fused else pooling
            _put(self, plan.sites.pooling, place)
            if self._is_fused:
                place.second_order = pooling
        _put(self, plan.sites.classifier, converted.get_submodule(plan.sites.classifier))
        self.eval()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the logits of the batch of this number."""
        return self.get_submodule(self._plan.sites.classifier)(self.features(int(batch)))

    def features(self, batch: int) -> Tensor:
        """Return the classifier's input for the batch of this number, (b, in_features)."""
        classifier = self.get_submodule(self._plan.sites.classifier)
        device = next(classifier.parameters()).device
        if self._is_own:
            return self._store.batch(VECTORS, batch).to(device)
        pooled = pooling_of(self, self._plan)(self._store.batch(self._map_name, batch).to(device))
        if not self._is_fused:
            return pooled
        first = self._store.batch(VECTORS, batch).to(device)
        return torch.cat([first, pooled.to(first.dtype)], dim=1)


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
