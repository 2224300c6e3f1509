"""What solving for a classifier holds at most, in processes of their own.

`python solver_memory.py [NAME...]` prints a line of JSON for each case: the bound, what was planned
and the most that the process held beyond what it did before, in MiB.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.allocator import keep_freed_memory
from covtool.ops.nystrom import Subspace, landmark_rows
from covtool.surgery.calibration_memory import MemoryPlan, plan_memory
from covtool.surgery.classifier import solve_classifier, subspace_of

BATCH = 50


@dataclass(frozen=True)
class Case:
    """A size of data, a bound, and the plan that it has to come to."""

    images: int
    features: int
    classes: int
    limit_mib: float
    is_planned: Callable[[MemoryPlan], object]

    def plan(self) -> MemoryPlan:
        limit_gib = self.limit_mib / 1024
        plan = plan_memory(self.images, self.features, limit_gib, classes=self.classes)
        assert self.is_planned(plan), plan
        return plan


CASES = {
    "dual by eigenvectors": Case(1200, 9000, 30, 280, lambda plan: plan.side == "rows"),
    "dual by Cholesky factors": Case(4200, 6000, 20, 740, lambda plan: plan.side == "rows"),
    "primal, kept": Case(8000, 800, 40, 100, lambda plan: plan.keep and not plan.subspace),
    "primal, streamed": Case(6000, 1200, 20, 90, lambda plan: not (plan.keep or plan.subspace)),
    "subspace, kept": Case(1200, 9000, 30, 140, lambda plan: plan.keep and plan.subspace),
    "subspace, streamed": Case(1200, 33_000, 20, 120, lambda plan: not plan.keep and plan.subspace),
    "many classes": Case(3000, 1500, 1000, 200, lambda plan: not plan.keep and plan.subspace),
}


class Network:
    """Gives features and targets, the same ones each time, in memory that it has from the start."""

    def __init__(self, case: Case) -> None:
        self.case, self.batch = case, torch.zeros(BATCH, case.features)

    def batches(self, subspace: Subspace | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a batch at a time, perhaps projected."""
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.case.images, BATCH):
            labels = torch.arange(start, min(start + BATCH, self.case.images)) % self.case.classes
            targets = F.one_hot(labels, self.case.classes)
            features = self.batch[: len(labels)].normal_(generator=generator)
            features[:, : self.case.classes] += targets
            yield subspace.apply(features) if subspace else features, targets.bool()


def solve(network: Network, plan: MemoryPlan) -> None:
    """Solve as `covtool.surgery.calibration` does."""
    subspace, images = None, network.case.images
    if plan.subspace is not None:
        subspace = subspace_of(network.batches, rows=landmark_rows(images, plan.subspace + 1))
    solve_classifier(
        lambda: network.batches(subspace), memory=plan, num_images=images, subspace=subspace
    )


def held_mib() -> float:
    """Return the memory of this process, without pages of the libraries' files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


@contextmanager
def watched(found: list[float]) -> Iterator[None]:
    """Look at the memory every two milliseconds: torch's operations leave the interpreter alone."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            found.append(held_mib())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(name: str) -> None:
    """Print what a case holds; for a fresh process."""
    case = CASES[name]
    plan, network = case.plan(), Network(case)
    before, found = held_mib(), []
    with watched(found):
        solve(network, plan)
    row = {
        "name": name,
        "limit_mib": case.limit_mib,
        "planned_mib": 1024 * plan.needed_gib,
        "peak_mib": max(found) - before,
    }
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure each case in a fork of this process, which has what all of them load."""
    keep_freed_memory()  # as commands do
    torch.set_num_threads(1)  # a fork has no threads of its parent
    small = Case(60, 40, 3, 100, lambda plan: True)
    solve(Network(small), small.plan())
    for name in sys.argv[1:] or CASES:
        child = os.fork()
        if not child:
            try:
                measure(name)
            except BaseException:  # a fork must not go on as its parent would
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name}: failed")


if __name__ == "__main__":
    main()
