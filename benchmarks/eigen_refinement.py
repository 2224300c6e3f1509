"""Does float32 with a refinement in float64 pay for the heads with an eigendecomposition?

    python benchmarks/eigen_refinement.py [--shape 16x256x14x14 ...] [--repetitions 9]

Three ways to the eigenvalues and vectors of the smaller Gram matrix, and to the root from them:
float64, as covtool's heads have it; float32; and float32 followed by one Newton step in float64
(Ogita and Aishima, "Iterative refinement for symmetric eigenvalue decomposition", 2018), which
squares the error of vectors whose eigenvalues lie apart: four products of N x N matrices. Errors
are those of the root X f(X'X) X', relative to its norm, against the float64 one. Time is the
processor's, on one thread.
"""

import argparse
import time
from statistics import median

import torch
from torch import Tensor

from covtool.benchmarking.inputs import feature_map
from covtool.benchmarking.measuring import describe_machine, in_turns
from covtool.ops.second_order import covariance_factor
from covtool.ops.spectral import eigh
from covtool.progress import silent

SHAPES = ("16x256x7x7", "16x256x16x8", "16x256x14x14")


def refined(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and vectors from float32, after one step of refinement in float64."""
    vectors = torch.linalg.eigh(gram.float())[1].double()
    residual = -(vectors.mT @ vectors)
    residual.diagonal(dim1=-2, dim2=-1).add_(1)
    turned = vectors.mT @ (gram @ vectors)
    values = turned.diagonal(dim1=-2, dim2=-1) / (1 - residual.diagonal(dim1=-2, dim2=-1))
    gaps = values[:, None, :] - values[:, :, None]
    # Between eigenvalues that float32 cannot tell apart, orthogonality alone is mended.
    apart = gaps.abs() > 1e-6 * values.abs().amax(dim=-1)[:, None, None]
    change = (turned + values[:, None, :] * residual) / torch.where(apart, gaps, 1)
    vectors = vectors + vectors @ torch.where(apart, change, residual / 2)
    return values.flip(-1).clamp_min(0), vectors.flip(-1)


FORMS = {
    "float64": eigh,
    "float32": lambda gram: tuple(t.double() for t in eigh(gram.float())),
    "refined": refined,
}


def root(factor: Tensor, eigen: tuple[Tensor, Tensor]) -> Tensor:
    """Return the root of X X' from the eigenvalues and vectors of X' X."""
    values, vectors = eigen
    lengths = torch.where(values > 0, values, torch.inf).sqrt()
    turned = factor @ vectors
    return (turned / lengths[:, None, :]) @ turned.mT


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append")
    parser.add_argument("--repetitions", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{describe_machine('cpu')}; medians of {arguments.repetitions} passes\n")
    print("| B x C x H x W | float64 ms | float32 / float64 | refined / float64 "
          "| error, float32 | error, refined |")  # fmt: skip
    print("| --- |" + " ---: |" * 5)
    for shape in arguments.shape or SHAPES:
        factor = covariance_factor(feature_map(shape, "cpu", torch.float32).double())
        gram = factor.mT @ factor
        times = in_turns(
            {n: lambda f=form, given=gram: timed(f, given) for n, form in FORMS.items()},
            arguments.repetitions,
            silent,
        )
        ms = {name: 1000 * median(found) for name, found in times.items()}
        roots = {name: root(factor, form(gram)) for name, form in FORMS.items()}
        exact = roots["float64"]
        errors = {n: ((r - exact).norm() / exact.norm()).item() for n, r in roots.items()}
        print(
            f"| {shape} | {ms['float64']:.1f} | {ms['float32'] / ms['float64']:.2f} "
            f"| {ms['refined'] / ms['float64']:.2f} | {errors['float32']:.1e} "
            f"| {errors['refined']:.1e} |",
            flush=True,
        )


def timed(function: object, gram: Tensor) -> float:
    """Return the processor's time of a call."""
    start = time.process_time()
    function(gram)
    return time.process_time() - start


if __name__ == "__main__":
    main()
