"""Time, memory and error of the ridge regressions behind calibration, on synthetic features.

    OMP_NUM_THREADS=1 python benchmarks/ridge.py --work ridge-rows [--only dual-5994-eigen ...]

`dual-*` compares both ways to solve the dual; `approximate-*` approximations with the exact
solution; `calibrate-*` is what a calibration does within a bound on memory, its features made anew
for each pass.

Each row runs in a process of its own and is kept in the folder: a later start goes on with what is
missing, and prints all. Times are CPU seconds; memory is the most that the process held beyond
what it did before the fit: the synthetic features and what they are made of are not among it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from synthetic_features import SyntheticFeatures
from torch import Tensor

from covtool.allocator import keep_freed_memory
from covtool.ops.nystrom import Subspace, landmark_rows
from covtool.ops.ridge import fit_ridge, mistakes
from covtool.ops.ridge.choice import lowest_nearby, scaled_penalties
from covtool.ops.ridge.dual_cholesky import fit_by_cholesky
from covtool.ops.ridge.dual_eigen import fit_by_eigen
from covtool.ops.ridge.gram import centered_gram, column_means, times_rows
from covtool.ops.sketch import CountSketch
from covtool.surgery.calibration_memory import plan_memory
from covtool.surgery.classifier import solve_classifier, subspace_of

TEST_ROWS = 4000
FITS = {"eigen": fit_by_eigen, "cholesky": fit_by_cholesky}
SIZES = {2000: 100, 4096: 100, 5994: 200, 8144: 196, 20000: 200}  # rows: classes
FEATURES = 32_896


def memory_mib() -> tuple[float, float]:
    """Return the memory of this process now, and the most since it began."""
    fields = dict(
        line.split(":")
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":" in line
    )
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def gathered(source: SyntheticFeatures, *, test: bool = False) -> tuple[Tensor, Tensor]:
    """Return all rows, made in place."""
    features = torch.empty(source.rows, source.features)
    labels, filled = [], 0
    for part, part_labels in source.batches(test=test):
        features[filled : filled + len(part)] = part
        filled += len(part)
        labels.append(part_labels)
    return features, torch.cat(labels)


def top_1(predictions: Tensor, labels: Tensor) -> float:
    """Return the share that is right, in percent."""
    return 100 * (predictions.argmax(dim=1) == labels).double().mean().item()


def dual(rows: int, method: str) -> dict[str, object]:
    """Fit by an n x n system."""
    classes = SIZES[rows]
    features, labels = gathered(SyntheticFeatures(rows, FEATURES, classes))
    targets = torch.nn.functional.one_hot(labels, classes).bool()
    before, _ = memory_mib()
    begin = time.process_time()
    mean = column_means(features)
    gram = centered_gram(features, mean)
    total = gram.diagonal().sum().item()
    gram_s = time.process_time() - begin
    calls = counted()
    begin = time.process_time()
    fit = FITS[method](gram, targets, mistakes)
    solve_s = time.process_time() - begin
    weight = times_rows(fit.coefficients.mT, features).float()
    bias = (fit.target_mean - weight.double() @ mean).float()
    _, peak = memory_mib()
    right = 0.0
    test = SyntheticFeatures(TEST_ROWS, FEATURES, classes)
    for part, part_labels in test.batches(test=True):
        right += top_1(part @ weight.mT + bias, part_labels) * len(part) / TEST_ROWS
    return {
        "rows": rows,
        "classes": classes,
        "method": method,
        "gram_s": gram_s,
        "solve_s": solve_s,
        "tried": len(calls) or len(scaled_penalties(total, rows)),
        "peak_mib": peak - before,
        "matrix_mib": 8 * rows**2 / 2**20,
        "penalty": fit.penalty * rows / total,
        "left_out": top_1(fit.left_out, labels),
        "test": right,
    }


def counted() -> list[int]:
    """Have the search note the penalties that it tries."""
    from covtool.ops.ridge import dual_cholesky

    calls: list[int] = []

    def noting(loss: Callable[[int], float], count: int, *, start: int) -> int:
        def noted(place: int) -> float:
            calls.append(place)
            print("penalty", place, time.process_time(), file=sys.stderr, flush=True)
            return loss(place)

        return lowest_nearby(noted, count, start=start)

    dual_cholesky.lowest_nearby = noting
    return calls


def calibrate(
    rows: int, features: int, classes: int, memory_gib: float, *, streamed: bool = False
) -> dict[str, object]:
    """Solve for a classifier as a calibration does, within a bound on memory."""
    source = SyntheticFeatures(rows, features, classes)
    plan = plan_memory(rows, features, memory_gib, classes=classes)
    if streamed:
        plan = replace(plan, keep=False)
    before, _ = memory_mib()
    begin = time.process_time()

    def batches(subspace: Subspace | None) -> Iterator[tuple[Tensor, Tensor]]:
        print("pass", time.process_time() - begin, file=sys.stderr, flush=True)
        for part, labels in source.batches():
            targets = torch.nn.functional.one_hot(labels, classes).bool()
            yield subspace.apply(part) if subspace else part, targets

    subspace = None
    if plan.subspace is not None:
        chosen = landmark_rows(rows, plan.subspace + 1)
        subspace = subspace_of(lambda: batches(None), rows=chosen)
    solved = solve_classifier(
        lambda: batches(subspace), memory=plan, num_images=rows, subspace=subspace
    )
    seconds = time.process_time() - begin
    _, peak = memory_mib()
    right = 0
    for part, labels in SyntheticFeatures(TEST_ROWS, features, classes).batches(test=True):
        predictions = part @ solved.weight.float().mT + solved.bias.float()
        right += (predictions.argmax(dim=1) == labels).sum().item()
    return {
        "rows": rows,
        "features": features,
        "classes": classes,
        "limit_gib": memory_gib,
        "side": solved.side,
        "system": solved.system_size,
        "kept": plan.keep,
        "planned_mib": 1024 * plan.needed_gib,
        "peak_mib": peak - before,
        "exact_gib": plan.exact_gib,
        "all_s": seconds,
        "left_out": solved.left_out_top_1,
        "test": 100 * right / TEST_ROWS,
    }


def approximate(rows: int, method: str, size: int) -> dict[str, object]:
    """Fit in fewer numbers, and compare with the exact fit."""
    classes = SIZES[rows]
    features, labels = gathered(SyntheticFeatures(rows, FEATURES, classes))
    targets = torch.nn.functional.one_hot(labels, classes).bool()
    exact = fit_ridge(features, targets, loss=mistakes)
    begin = time.process_time()
    if method == "nystrom":
        chosen = landmark_rows(rows, size + 1)
        reduction: Subspace | CountSketch = Subspace.spanned_by_(features[chosen])
    else:
        reduction = CountSketch.draw(FEATURES, size)
    fit = fit_ridge(reduction.apply(features), targets, loss=mistakes)
    seconds = time.process_time() - begin
    weight = reduction.transpose(fit.weight)
    test, test_labels = gathered(SyntheticFeatures(TEST_ROWS, FEATURES, classes), test=True)
    found, expected = (
        test @ w.float().mT + b.float() for w, b in ((weight, fit.bias), (exact.weight, exact.bias))
    )
    error = (found - expected).norm() / (expected - expected.mean(dim=0)).norm()
    return {
        "rows": rows,
        "method": method,
        "size": size,
        "solve_s": seconds,
        "left_out": top_1(fit.left_out, labels),
        "exact_left_out": top_1(exact.left_out, labels),
        "test": top_1(found, test_labels),
        "exact_test": top_1(expected, test_labels),
        "same_answers": 100 * (found.argmax(1) == expected.argmax(1)).double().mean().item(),
        "prediction_error": error.item(),
        "weight_error": ((weight - exact.weight).norm() / exact.weight.norm()).item(),
    }


CASES: dict[str, Callable[[], dict[str, object]]] = {
    f"dual-{rows}-{method}": (lambda rows=rows, method=method: dual(rows, method))
    for rows in SIZES
    for method in FITS
    if (rows, method) != (20000, "eigen")  # an hour, and 18 GiB
}
CASES |= {
    f"approximate-{rows}-{method}-{size}": (
        lambda rows=rows, method=method, size=size: approximate(rows, method, size)
    )
    for rows in (4096,)
    for size in (512, 1024, 2048)
    for method in ("nystrom", "count-sketch")
}
CASES |= {
    "calibrate-833": lambda: calibrate(833, FEATURES, 30, 4),
    "calibrate-4096": lambda: calibrate(4096, FEATURES, 100, 4),
    "calibrate-5994": lambda: calibrate(5994, FEATURES, 200, 4),
    "calibrate-8144": lambda: calibrate(8144, FEATURES, 196, 4),
    "calibrate-8144-1gib": lambda: calibrate(8144, FEATURES, 196, 1),
    "calibrate-20000-1280": lambda: calibrate(20_000, 1280, 1000, 4),
    "calibrate-20000-4096": lambda: calibrate(20_000, 4096, 200, 4),
    "calibrate-100000-streamed": lambda: calibrate(100_000, FEATURES, 1000, 1.5, streamed=True),
}


def main() -> None:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        keep_freed_memory()  # as the commands do
        print(json.dumps(CASES[arguments.case]()))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        path = arguments.work / f"{name}.json"
        if not path.exists():
            command = [sys.executable, __file__, "--work", str(arguments.work), "--case", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            path.write_text(done.stdout)
        print(name, path.read_text().strip(), flush=True)


if __name__ == "__main__":
    main()
