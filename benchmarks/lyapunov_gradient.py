"""Errors of the gradients of mtp and mpa against the exact solution of the Lyapunov equation.

    python benchmarks/lyapunov_gradient.py [--channels 8 64 256] [--positions 49] [--repetitions 9]

The sign iteration needs eigenvalues in [-1, 1]. "frobenius" divides by the Frobenius norm of the
root, as before; "spectral" by the root of that of its square, as `covtool.ops.lyapunov` does. The
error is that of float64, relative to the norm of the exact solution at the same root; times are
those of float32, in turns in one process.
"""

import argparse
from functools import partial

import torch
from torch import Tensor

from covtool.benchmarking.inputs import random_features
from covtool.benchmarking.measuring import describe_machine, measure_calls
from covtool.ops.covariance import covariance_pool
from covtool.ops.lyapunov import LYAPUNOV_ITERATIONS, solve_lyapunov
from covtool.ops.matrix_approximants import matrix_sqrt_pade, matrix_sqrt_taylor

BATCH = 8
ROOTS = {"mtp": matrix_sqrt_taylor, "mpa": matrix_sqrt_pade}


def divided_by_frobenius(root: Tensor, right: Tensor) -> Tensor:
    """Run the iteration of `solve_lyapunov` with the other norm."""
    norm = torch.linalg.matrix_norm(root, keepdim=True)
    sign, solution = root / norm, right / norm
    three = 3 * torch.eye(root.shape[-1], dtype=root.dtype)
    for _ in range(LYAPUNOV_ITERATIONS):
        square = sign @ sign
        step = three - square
        crossed = sign @ solution @ sign - square @ solution
        solution = (crossed + solution @ step) / 2
        sign = sign @ step / 2
    return (solution + solution.mT) / 4


FORMS = {"frobenius": divided_by_frobenius, "spectral": solve_lyapunov}


def exact(root: Tensor, right: Tensor) -> Tensor:
    """Return the solution by eigendecomposition."""
    eigenvalues, vectors = torch.linalg.eigh(root)
    sums = eigenvalues[:, :, None] + eigenvalues[:, None]
    return vectors @ ((vectors.mT @ right @ vectors) / sums) @ vectors.mT


def covariances(channels: int, positions: int) -> Tensor:
    """Return covariances of random nonnegative features with variances like 1/k, in float64."""
    features = random_features((BATCH, channels, 1, positions), "cpu", torch.float64)
    return covariance_pool(features / torch.arange(1, channels + 1)[:, None, None].sqrt())


def row(name: str, channels: int, positions: int, repetitions: int) -> str:
    """Return one line of the table."""
    root = ROOTS[name](covariances(channels, positions))
    generator = torch.Generator().manual_seed(1)
    right = torch.randn(root.shape, generator=generator, dtype=root.dtype)
    right = right + right.mT
    solution = exact(root, right)
    errors = {n: ((f(root, right) - solution).norm() / solution.norm()) for n, f in FORMS.items()}
    calls = {n: partial(f, root.float(), right.float()) for n, f in FORMS.items()}
    times = measure_calls(calls, torch.device("cpu"), repetitions=repetitions)
    shown = " | ".join(f"{errors[n]:.1e}" for n in FORMS)
    time = times["spectral"]
    shown += f" | {time:.2f} | {time / times['frobenius']:.2f}"
    return f"| {name} | {channels} | {positions} | {shown} |"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196])
    parser.add_argument("--repetitions", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{describe_machine('cpu')}; medians of {arguments.repetitions} passes, batch {BATCH}\n")
    print("| head | D | N | error, frobenius | error, spectral | spectral ms | time ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in ROOTS:
        for channels in arguments.channels:
            for positions in arguments.positions:
                print(row(name, channels, positions, arguments.repetitions), flush=True)


if __name__ == "__main__":
    main()
