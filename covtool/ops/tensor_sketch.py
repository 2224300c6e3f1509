"""Compact bilinear pooling: a sketch of x x', summed over the positions.

The tensor sketch of x x' is the circular convolution of two count sketches of x. It is linear in
x x' as well: entry (i, j) goes to the bucket h1(i) + h2(j) mod m with the sign s1(i) s2(j). So it
can be taken position by position through the Fourier transform, or once of the summed matrix.
Both are the same function; the one that touches fewer numbers is taken.
"""

from typing import Literal

import torch
from torch import Tensor

from covtool.errors import ShapeError
from covtool.ops.precision import at_least_float32, full_precision
from covtool.ops.sketch import CountSketch

Form = Literal["auto", "fourier", "moments"]


def compact_bilinear_pool(
    features: Tensor, first: CountSketch, second: CountSketch, *, form: Form = "auto"
) -> Tensor:
    """Return the Tensor Sketch of the mean of x x' over all positions.

    Inner products of two results are, on average over the hashes, those of the matrices. The paper
    sums over the positions; the mean keeps the scale of the features at any size of the map.

    Args:
        features: Shape (B, C, H, W). Not modified.
        first: Sketch of C numbers to m.
        second: The same, drawn independently.
        form: ``fourier`` takes B*H*W*m numbers, ``moments`` B*C*C; ``auto`` the fewer.

    Returns:
        Shape (B, m), dtype and device of `features`; half precision is computed in float32.

    Raises:
        ShapeError: `features` does not have four dimensions.

    Source:
        Pham, Pagh. "Fast and Scalable Polynomial Kernels via Explicit Feature Maps", KDD 2013;
        Gao, Beijbom, Zhang, Darrell. "Compact Bilinear Pooling", CVPR 2016, algorithm 2.
    """
    if features.ndim != 4:
        raise ShapeError.expected("features", "(B, C, H, W)", features)
    flat = at_least_float32(features).flatten(2)
    if form == "auto":
        # C x C products, or a sketch of that size at each position: whichever is fewer numbers.
        fewer = flat.shape[1] ** 2 <= flat.shape[2] * first.size
        form = "moments" if fewer else "fourier"
    by_form = {"moments": _of_moments, "fourier": _by_fourier}
    with full_precision(features):
        return (by_form[form](flat, first, second) / flat.shape[2]).to(features.dtype)


def _of_moments(flat: Tensor, first: CountSketch, second: CountSketch) -> Tensor:
    buckets = (first.buckets[:, None] + second.buckets) % first.size
    signs = (first.signs[:, None] * second.signs).to(flat.dtype)
    products = (flat @ flat.mT * signs).flatten(1)
    return flat.new_zeros(flat.shape[0], first.size).index_add(1, buckets.flatten(), products)


def _by_fourier(flat: Tensor, first: CountSketch, second: CountSketch) -> Tensor:
    rows = flat.mT.flatten(0, 1)
    spectra = [torch.fft.rfft(sketch.apply(rows)) for sketch in (first, second)]
    # Sums and Fourier transforms commute: one inverse transform for all positions.
    summed = (spectra[0] * spectra[1]).unflatten(0, (flat.shape[0], -1)).sum(dim=1)
    features: Tensor = torch.fft.irfft(summed, n=first.size)
    return features
