"""What it saves that freed memory is kept: a network's pass on a CPU, with and without.

    python benchmarks/allocator.py [--model NAME ...] [--repetitions 5]

Each measurement is a process of its own, and the two kinds take turns. Seconds are of CPU time, of
this process and of the system for it: the latter is what clearing pages costs.
"""

import argparse
import json
import resource
import subprocess
import sys
from statistics import median

import timm
import torch

from covtool.allocator import keep_freed_memory

BATCHES, BATCH, SIDE = 3, 32, 224


def passes(name: str, *, training: bool) -> dict[str, float]:
    """Return CPU milliseconds per image, the system's share of them, and the largest MiB."""
    torch.set_num_threads(1)
    model = timm.create_model(name, num_classes=30).train(training)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(30, (BATCH,))
    before = resource.getrusage(resource.RUSAGE_SELF)
    for batch in range(1 + BATCHES):
        if batch == 1:  # the first is slow either way
            before = resource.getrusage(resource.RUSAGE_SELF)
        with torch.set_grad_enabled(training):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        if training:
            loss.backward()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    seconds = after.ru_utime - before.ru_utime + system
    return {
        "ms": 1000 * seconds / BATCHES / BATCH,
        "system": system / seconds,
        "mib": after.ru_maxrss / 1024,
    }


def measured(name: str, *, training: bool, keep: bool) -> dict[str, float]:
    """Return the figures of a process of its own."""
    words = [sys.executable, __file__, "--model", name, "--one"]
    words += ["--training"] * training + ["--keep"] * keep
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--training", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        if arguments.keep and not keep_freed_memory():
            raise SystemExit("the allocator was not told")
        print(json.dumps(passes(arguments.model[0], training=arguments.training)))
        return
    print("| network | pass | ms / image given back | kept | ratio | system's share | MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in arguments.model or ("efficientnet_lite0", "resnet50"):
        for training in (False, True):
            rows: dict[bool, list[dict[str, float]]] = {False: [], True: []}
            for _ in range(arguments.repetitions):
                for keep in (False, True):
                    rows[keep].append(measured(name, training=training, keep=keep))
            given, kept = (
                {key: median(row[key] for row in rows[keep]) for key in rows[keep][0]}
                for keep in (False, True)
            )
            print(
                f"| {name} | {'training' if training else 'evaluation'} | {given['ms']:.0f} "
                f"| {kept['ms']:.0f} | {given['ms'] / kept['ms']:.2f}x "
                f"| {given['system']:.0%} and {kept['system']:.0%} "
                f"| {given['mib']:.0f} and {kept['mib']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
