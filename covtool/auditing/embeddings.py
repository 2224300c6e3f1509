"""Embeddings of all images, and the nearest others of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.data.datasets.samples import Sample
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.progress import Track, silent

NEAREST = 10
"""Nearest others of an image that are looked for."""

ALIKE = 5
"""Nearest ones whose mean similarity says how far an image is from all others."""

_PRODUCTS_AT_ONCE = 1 << 24  # 64 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The nearest other images of each of n.

    Attributes:
        similarities: Cosine similarities, descending, shape (n, k).
        places: Their places, shape (n, k).
    """

    similarities: Tensor
    places: Tensor


def embed_images(
    extractor: FeatureExtractor, paths: Sequence[Path], track: Track = silent
) -> Tensor:
    """Return the features of images as they are, shape (n, D), float32 on the CPU."""
    samples = [Sample(path, 0) for path in paths]
    features = torch.empty(len(samples), extractor.num_features)  # once: no list of parts beside it
    at = 0
    for batch in extractor(samples, track):
        features[at : at + len(batch)] = batch
        at += len(batch)
    return features


def nearest_others(
    features: Tensor, *, device: torch.device | str = "cpu", track: Track = silent
) -> Nearest:
    """Find the nearest others of each image, exactly, a block at a time.

    Args:
        features: Shape (n, D), n at least 2.
        device: Device to compute on; it must hold the features.
        track: Display of the progress.
    """
    unit = F.normalize(features.to(device), dim=1)
    count = len(unit)
    most = min(NEAREST, count - 1)
    similarities, places = torch.empty(count, most), torch.empty(count, most, dtype=torch.long)
    rows = max(1, _PRODUCTS_AT_ONCE // count)
    starts = range(0, count, rows)
    for top in track(starts, "comparing images", len(starts)):
        products = unit[top : top + rows] @ unit.T
        own = torch.arange(len(products), device=products.device)
        products[own, top + own] = -torch.inf
        found = products.topk(most, dim=1)
        similarities[top : top + rows] = found.values.cpu()
        places[top : top + rows] = found.indices.cpu()
    return Nearest(similarities=similarities, places=places)


def alike_by_embedding(nearest: Nearest, least: float) -> list[tuple[int, int]]:
    """Return pairs of images, i < j, that are at least so similar."""
    close = (nearest.similarities >= least).nonzero()
    pairs = ((int(i), int(nearest.places[i, k])) for i, k in close)
    return sorted({(min(pair), max(pair)) for pair in pairs})
