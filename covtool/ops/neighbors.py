"""Embeddings that are kept in few bytes, and the distance of others to the nearest of them.

An image of a class that a network does not know lies farther from all that it was trained on than
an image of a class that it knows. Lengths say little, so embeddings are taken to length 1.

A long embedding is sketched, which keeps distances on average, then projected to its principal
directions; what is left of its squared length beside them is one number. Two such remainders are
nearly orthogonal, so that they add up: a distance has lost next to nothing. Coordinates are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.principal import principal_directions
from covtool.ops.sketch import CountSketch

MOST_DIRECTIONS = 256
"""Bytes that an embedding is kept in, beside two numbers."""

LONGEST_EXACT = 2048
"""Features that are not sketched; an eigendecomposition of that size takes seconds."""

_STEPS = 127  # of a byte, on each side of zero
_PAIRS_AT_ONCE = 1 << 22  # distances in memory, 16 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """Embeddings, compressed.

    Attributes:
        codes: Coordinates in units of `scales`, int8, shape (N, d).
        scales: Unit of each embedding's coordinates, float32, shape (N,).
        remainders: Squared length of each beside the directions, float32, shape (N,).
        mean: Mean of the sketched embeddings, float32, shape (m,).
        directions: Orthonormal rows, float16, shape (d, m).
        buckets: Place of each feature in the sketch, int32, shape (D,); empty where m = D.
        signs: Its sign there, int8, shape (D,); empty likewise.
    """

    codes: Tensor
    scales: Tensor
    remainders: Tensor
    mean: Tensor
    directions: Tensor
    buckets: Tensor
    signs: Tensor

    @classmethod
    def of(cls, sketched: Tensor, sketch: CountSketch | None = None) -> "Neighbors":
        """Compress embeddings.

        Args:
            sketched: Embeddings as `normalized` returns them, shape (N, m).
            sketch: Sketch that they went through; None for none.

        Raises:
            ShapeError: They are not (N, m).
            ArgumentError: There are none.
        """
        if sketched.ndim != 2:
            raise ShapeError.expected("embeddings", "(N, m)", sketched)
        if not len(sketched):
            raise ArgumentError("There are no embeddings to keep.")
        size = sketched.shape[1]
        mean = sketched.mean(dim=0, dtype=torch.float64).float()
        centered = (sketched - mean).double()
        found = principal_directions(centered.mT @ centered, min(size, MOST_DIRECTIONS))
        # Rounded before anything is projected: embeddings and queries see the same directions.
        directions = found.half()
        coordinates, remainders = _projected(sketched, mean, directions)
        scales = coordinates.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / _STEPS
        nothing = torch.empty(0)
        return cls(
            codes=(coordinates / scales[:, None]).round().clamp(-_STEPS, _STEPS).to(torch.int8),
            scales=scales,
            remainders=remainders,
            mean=mean,
            directions=directions,
            buckets=(nothing if sketch is None else sketch.buckets).to(torch.int32),
            signs=(nothing if sketch is None else sketch.signs).to(torch.int8),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Neighbors":
        """Return the inverse of `tensors`, of a file that may hold anything.

        Raises:
            ShapeError: A tensor is missing, is one too many, or is not what it must be.
        """
        names = [field.name for field in fields(cls)]
        if set(tensors) != set(names):
            raise ShapeError(
                f"Kept embeddings are the tensors {', '.join(names)}, not "
                f"{', '.join(sorted(tensors)) or 'none'}."
            )
        made = cls(**tensors)
        made._require_fit()
        return made

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_features(self) -> int:
        """Length of the embeddings before they were compressed, D."""
        return len(self.buckets) or len(self.mean)

    def __len__(self) -> int:
        return len(self.codes)

    def distances(self, embeddings: Tensor, *, nearest: int) -> Tensor:
        """Return the mean distance of each embedding to the nearest kept ones.

        Args:
            embeddings: Shape (B, D); taken to length 1, so that a distance is between 0 and 2.
            nearest: Number of nearest ones, k; of fewer, all.

        Returns:
            Shape (B,), float32; of an embedding that is not finite, NaN.

        Raises:
            ShapeError: The embeddings are not (B, D).

        Source:
            Sun, Ming, Zhu, Li. "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML
            2022. There the distance to the k-th; the mean over k varies less.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.num_features:
            raise ShapeError.expected("embeddings", f"(B, {self.num_features})", embeddings)
        sketched = normalized(embeddings, self.sketch)
        return self.nearest(sketched, nearest)[0].mean(dim=1)

    @property
    def sketch(self) -> CountSketch | None:
        """The sketch that embeddings went through; None for none."""
        if not len(self.buckets):
            return None
        return CountSketch(buckets=self.buckets.long(), signs=self.signs, size=len(self.mean))

    def nearest(self, sketched: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the distances of embeddings to the nearest kept ones, and which those are.

        Args:
            sketched: Embeddings as `normalized` returns them with `sketch`, shape (B, m).
            count: Number of nearest ones; of fewer, all.

        Returns:
            Distances, float32, shape (B, count), the least first, and rows, int64, likewise.
        """
        queries, remainders = _projected(sketched, self.mean, self.directions)
        rows = max(1, _PAIRS_AT_ONCE // len(self))
        parts = zip(queries.split(rows), remainders.split(rows), strict=True)
        found = [self._nearest(*part, count) for part in parts]
        return torch.cat([best for best, _ in found]), torch.cat([rows for _, rows in found])

    def _nearest(self, queries: Tensor, remainders: Tensor, nearest: int) -> tuple[Tensor, Tensor]:
        lengths = (queries.square().sum(dim=1) + remainders)[:, None]
        best = queries.new_empty(len(queries), 0)
        places = torch.empty(len(queries), 0, dtype=torch.long)
        start = 0
        # In blocks of kept ones, too: as float32 they would take four times their place.
        rows = max(1, _PAIRS_AT_ONCE // self.codes.shape[1])
        blocks = (self.codes.split(rows), self.scales.split(rows), self.remainders.split(rows))
        for codes, scales, own in zip(*blocks, strict=True):
            kept = codes.float() * scales[:, None]
            alone = kept.square().sum(dim=1) + own
            squared = torch.addmm(alone.expand(len(queries), -1), queries, kept.mT, alpha=-2)
            best = torch.cat([best, squared + lengths], dim=1)
            numbers = torch.arange(start, start + len(codes)).expand(len(queries), -1)
            places = torch.cat([places, numbers], dim=1)
            best, kept_ones = best.topk(min(nearest, best.shape[1]), dim=1, largest=False)
            places = places.gather(1, kept_ones)
            start += len(codes)
        return best.clamp_min(0).sqrt(), places

    def _require_fit(self) -> None:
        kept, size = self.codes.shape[0] if self.codes.ndim else 0, self.mean.numel()
        width = min(size, MOST_DIRECTIONS)
        expected = {
            "codes": (torch.int8, (kept, width)),
            "scales": (torch.float32, (kept,)),
            "remainders": (torch.float32, (kept,)),
            "mean": (torch.float32, (size,)),
            "directions": (torch.float16, (width, size)),
            "buckets": (torch.int32, (len(self.signs) if self.signs.ndim else -1,)),
            "signs": (torch.int8, (self.signs.numel(),)),
        }
        for name, (dtype, shape) in expected.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise ShapeError.expected(f"{name} of kept embeddings", f"{shape} {dtype}", tensor)
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ShapeError(f"{name} of kept embeddings are not finite.")
        if not kept or not size:
            raise ShapeError("There are no embeddings among the kept ones.")
        if len(self.buckets) and not 0 <= int(self.buckets.min()) <= int(self.buckets.max()) < size:
            raise ShapeError(f"A bucket of kept embeddings is beyond their {size} numbers.")


def sketch_for(num_features: int) -> CountSketch | None:
    """Return the sketch that long embeddings go through first; None for short ones."""
    if num_features <= LONGEST_EXACT:
        return None
    return CountSketch.draw(num_features, LONGEST_EXACT)


def normalized(embeddings: Tensor, sketch: CountSketch | None = None) -> Tensor:
    """Return embeddings of length 1 in float32 on the CPU, sketched where there is a sketch.

    Args:
        embeddings: Shape (B, D).
        sketch: Sketch from D to m numbers.

    Returns:
        Shape (B, m); an embedding of zeros stays one.
    """
    plain = F.normalize(embeddings.detach().float().cpu(), dim=1)
    return plain if sketch is None else sketch.apply(plain)


def _projected(sketched: Tensor, mean: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates and the squared length beside the directions."""
    centered = sketched - mean
    coordinates = centered @ directions.float().mT
    beside = centered.square().sum(dim=1) - coordinates.square().sum(dim=1)
    return coordinates, beside.clamp_min(0)
