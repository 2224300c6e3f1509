"""How far is the approximate root from what its products alone would cost?

    python benchmarks/isqrt_limit.py [--shape 16x256x14x14 ...] [--repetitions 15] [--cpu-time]

The limit counts multiply-adds: of a product that is symmetric the triangle, of any other all; at
the rate of torch.bmm for batches of these very sizes, measured in the same run. Nothing else is in
it: no sums, no copies, no memory. Forms run in turns in one process: the textbook's, on C x C
matrices; the published layer's arithmetic, with its centring matrix and its own backward; the
smaller side with autograd and three products a step ("plain"); and covtool's. All are checked
against the textbook in float64 first.

With --cpu-time it is the processor's time that counts, on one thread: steadier than the clock's
where other processes compete for the cores.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor

from covtool.benchmarking.heads import textbook_isqrt
from covtool.benchmarking.inputs import feature_map
from covtool.benchmarking.measuring import describe_machine, in_turns, peak_mib
from covtool.benchmarking.published_isqrt import published_isqrt
from covtool.ops.covariance import centered_positions, triu_vec
from covtool.ops.isqrt import cheaper_side, isqrt_triangle, trace_scale
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale
from covtool.progress import silent

SHAPES = ("16x256x7x7", "16x256x16x8", "16x256x14x14", "16x256x28x28")
ITERATIONS = 5

# Products of the iteration as `covtool.ops.newton_schulz` has them. Forward all are symmetric;
# backward one is, the sandwich of a gradient.
FORWARD, BACKWARD, SYMMETRIC_BACKWARD = 10, 13, 1

Sizes = tuple[int, int, int]
Clock = Callable[[], float]


def products(channels: int, positions: int) -> dict[Sizes, float]:
    """Return how many products (m, k, n) a sample takes; a half where the triangle is enough."""
    C, N = channels, positions
    iterated = FORWARD / 2 + BACKWARD - SYMMETRIC_BACKWARD / 2
    if cheaper_side(C, N, num_iterations=ITERATIONS) == "channels":
        # X X' and its gradient.
        return {(C, C, C): iterated, (C, N, C): 0.5, (C, C, N): 1}
    # X'X and X'(GX); XQX'; XQ, (GX)Q and the gradient of X'X; GX.
    return {(N, N, N): iterated, (N, C, N): 0.5 + 0.5, (C, N, C): 0.5, (C, N, N): 3, (C, C, N): 1}


def plain_isqrt(features: Tensor) -> Tensor:
    """Return the triangle by three products a step on the smaller side, for autograd."""
    X = centered_positions(features)
    X = X / one_where_zero(X.detach().abs().amax(dim=(-2, -1), keepdim=True))
    on_channels = cheaper_side(*X.shape[-2:], num_iterations=ITERATIONS) == "channels"
    gram = X @ X.mT if on_channels else X.mT @ X
    trace = trace_scale(gram)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    Y = gram / one_where_zero(trace)
    P = 1.5 * identity - 0.5 * Y
    Y, Z = Y @ P, P
    for left in reversed(range(ITERATIONS - 1)):
        P = torch.baddbmm(identity, Z, Y, beta=1.5, alpha=-0.5)
        Y = Y @ P if left or on_channels else Y
        Z = P @ Z if left or not on_channels else Z
    largest = features.flatten(2)
    largest = (largest - largest.mean(-1, keepdim=True)).detach().abs().amax((-2, -1), keepdim=True)
    scale = root_of_scale(trace / X.shape[-1]) * largest
    return triu_vec(Y * scale if on_channels else X @ (Z * (scale / one_where_zero(trace))) @ X.mT)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "textbook": lambda x: triu_vec(textbook_isqrt(x)),
    "published": published_isqrt,
    "plain": plain_isqrt,
    "covtool": isqrt_triangle,
}


def check() -> None:
    """Require that all forms have the same value and gradient."""
    for shape in ((2, 6, 3, 3), (2, 12, 2, 3)):
        features = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        outcomes = []
        for form in FORMS.values():
            vectors = form(features)
            outcomes.append((vectors, torch.autograd.grad(vectors.square().sum(), features)[0]))
        for other in outcomes[1:]:
            torch.testing.assert_close(other, outcomes[0], rtol=1e-9, atol=1e-11)


def one_pass(form: Callable[[Tensor], Tensor], leaf: Tensor, clock: Clock) -> tuple[float, float]:
    """Return the times of the forward and the backward pass."""
    leaf.grad = None
    start = clock()
    result = form(leaf)
    middle = clock()
    result.backward(torch.ones_like(result))
    return middle - start, clock() - middle


def one_product(sizes: Sizes, batch: int, clock: Clock) -> float:
    """Return the time of a batch of products (m, k) times (k, n)."""
    m, k, n = sizes
    left, right, out = torch.rand(batch, m, k), torch.rand(batch, k, n), torch.empty(batch, m, n)
    start = clock()
    torch.bmm(left, right, out=out)
    return clock() - start


def row(shape: str, repetitions: int, clock: Clock) -> str:
    """Measure one shape: a line of the table."""
    features = feature_map(shape, "cpu", torch.float32)
    batch, channels = features.shape[:2]
    counts = products(channels, features[0, 0].numel())
    leaf = features.clone().requires_grad_()
    passes: Mapping[object, Callable[[], object]] = {
        **{name: lambda f=form: one_pass(f, leaf, clock) for name, form in FORMS.items()},
        **{sizes: lambda s=sizes: one_product(s, batch, clock) for sizes in counts},
    }
    times = in_turns(passes, repetitions, silent)
    total = {n: 1000 * median(map(sum, times[n])) for n in FORMS}
    limit = 1000 * sum(count * median(times[sizes]) for sizes, count in counts.items())
    adds = batch * sum(count * m * k * n for (m, k, n), count in counts.items())
    peaks = {name: peak_mib(FORMS[name], leaf) for name in ("plain", "covtool")}
    own = (features.numel() + batch * channels * (channels + 1) // 2) * 4 / 2**20
    mine = total["covtool"]
    return (
        f"| {shape} | {adds / 1e9:.2f} | {2 * adds / limit / 1e6:.0f} | {limit:.1f} | {mine:.1f} "
        f"| {mine / limit:.2f} | {total['plain'] / limit:.2f} | {total['plain'] / mine:.2f} "
        f"| {total['textbook'] / mine:.2f} | {total['published'] / mine:.2f} "
        f"| {peaks['plain']:.1f} | {peaks['covtool']:.1f} | {peaks['covtool'] / own:.2f} |"
    )


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        torch.set_num_threads(1)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    check()
    print(f"{describe_machine('cpu')}; medians of {arguments.repetitions} passes\n")
    print("| B x C x H x W | 10^9 multiply-adds | GFLOP/s | limit ms | covtool ms "
          "| covtool / limit | plain / limit | plain / covtool | textbook / covtool "
          "| published / covtool | plain MiB | covtool MiB | over input + triangle |")  # fmt: skip
    print("| --- |" + " ---: |" * 12)
    for shape in arguments.shape or SHAPES:
        print(row(shape, arguments.repetitions, clock), flush=True)


if __name__ == "__main__":
    main()
