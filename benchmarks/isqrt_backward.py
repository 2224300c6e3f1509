"""Does a hand-written backward of the Newton-Schulz root pay over autograd's?

    python benchmarks/isqrt_backward.py [--shape 16x256x7x7 ...] [--repetitions 15]

For symmetric A the derivative of a matrix function is self-adjoint: the gradient is the tangent
iteration, run in the direction of the symmetrized incoming gradient. "kept" keeps the iterates
that it needs; "again" keeps A alone and runs the iteration a second time. All forms are checked
against autograd in float64 first, and timed in turns in one process.
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from covtool.benchmarking.inputs import feature_map
from covtool.benchmarking.measuring import describe_machine, measure
from covtool.ops.covariance import centered_positions, triu_vec
from covtool.ops.isqrt import cheaper_side, isqrt_covariance, trace_scale
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale

ITERATIONS = 5
GRID = [
    f"8x{channels}x{positions}"
    for channels in (64, 128, 256, 512)
    for positions in ("4x4", "7x7", "16x8", "14x14", "28x28")
]


def iterates(matrices: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Y, Z and P of each step; Z of the first step is the identity."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    Y, Z, P = [matrices], [identity.expand_as(matrices)], []
    for k in range(ITERATIONS):
        P.append(1.5 * identity - 0.5 * (Y[k] if k == 0 else Z[k] @ Y[k]))
        Y.append(Y[k] @ P[k])
        Z.append(P[k] if k == 0 else P[k] @ Z[k])
    return Y, Z, P


def tangent(iterated: tuple[list[Tensor], ...], direction: Tensor) -> list[Tensor]:
    """Change of the last Y and Z when A changes by `direction`."""
    Y, Z, P = iterated
    dY, dZ = direction, torch.zeros_like(direction)
    for k, step in enumerate(P):
        dP = -0.5 * dY if k == 0 else -0.5 * (dZ @ Y[k] + Z[k] @ dY)
        dY, dZ = dY @ step + Y[k] @ dP, (dP if k == 0 else dP @ Z[k] + step @ dZ)
    return [dY, dZ]


class Root(torch.autograd.Function):
    """(A, which of Y and Z, whether to keep the iterates) -> the last one."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, which: int, keep: bool) -> Tensor:
        """Run the iteration."""
        Y, Z, P = iterates(matrices)
        ctx.which, ctx.keep = which, keep
        ctx.save_for_backward(*(Y[:-1] + Z[:-1] + P if keep else [matrices]))
        return (Y[-1], Z[-1])[which]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Run the tangent iteration."""
        saved, n = ctx.saved_tensors, ITERATIONS
        if ctx.keep:
            Y, Z, P = saved[:n], saved[n : 2 * n], saved[2 * n :]
        else:
            Y, Z, P = iterates(saved[0])
        return tangent((Y, Z, P), (grad + grad.mT) / 2)[ctx.which], None, None


def hand_written(features: Tensor, *, keep: bool) -> Tensor:
    """`isqrt_covariance` with the tangent as its backward."""
    centered = centered_positions(features)
    largest = one_where_zero(centered.detach().abs().amax(dim=(-2, -1), keepdim=True))
    centered = centered / largest
    on_channels = cheaper_side(*centered.shape[-2:], num_iterations=ITERATIONS) == "channels"
    gram = centered @ centered.mT if on_channels else centered.mT @ centered
    trace = trace_scale(gram)
    scale = root_of_scale(trace / centered.shape[-1]) * largest
    if on_channels:
        return Root.apply(gram / one_where_zero(trace), 0, keep) * scale
    inverse_root = Root.apply(gram / one_where_zero(trace), 1, keep)
    return centered @ (inverse_root * (scale / one_where_zero(trace))) @ centered.mT


FORMS = {
    "autograd": lambda x: triu_vec(isqrt_covariance(x)),
    "kept": lambda x: triu_vec(hand_written(x, keep=True)),
    "again": lambda x: triu_vec(hand_written(x, keep=False)),
}


def check() -> None:
    """Require that all forms have the same value and gradient."""
    for shape in ((2, 6, 3, 3), (2, 12, 2, 3)):
        gradients = []
        for form in FORMS.values():
            features = torch.rand(shape, dtype=torch.float64, generator=torch.Generator()).relu()
            features.requires_grad_()
            form(features).square().sum().backward()
            gradients.append(features.grad)
        for other in gradients[1:]:
            torch.testing.assert_close(other, gradients[0], rtol=1e-10, atol=1e-12)


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    check()
    print(f"{describe_machine(arguments.device)}; medians of {arguments.repetitions} passes\n")
    print("| B x D x H x W | autograd ms | kept / autograd | again / autograd | autograd MiB "
          "| kept MiB | again MiB |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for shape in arguments.shape or GRID:
        features = feature_map(shape, arguments.device, torch.float32)
        costs = measure(FORMS, features, repetitions=arguments.repetitions)
        base = costs["autograd"].total_ms
        ratios = " | ".join(f"{costs[n].total_ms / base:.2f}" for n in ("kept", "again"))
        memory = " | ".join(f"{costs[n].peak_mib:.1f}" for n in FORMS)
        print(f"| {shape} | {base:.2f} | {ratios} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
