"""The rate that a range test suggests, and what three epochs at it, at 3x and at 10x of it come to.

    python benchmarks/learning_rates.py WEIGHTS --data cars30 --data dtd10 --output DIR

WEIGHTS are EfficientNet-Lite0's. On each data set, of which every n-th image is used, two models
start: one with an isqrt head that is calibrated on the training images, and one with a new
classifier. Each is trained with SGD and with AdamW. Rows are kept in DIR as they come, and a later
start of the same command goes on with them; the table is printed at the end.
"""

import argparse
import csv
import json
import math
import shutil
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch

from covtool.conversion import ConversionRequest, convert
from covtool.data.datasets.reading import scan
from covtool.errors import NonFiniteError
from covtool.processes import ALONE
from covtool.specs import (
    FaultSpec,
    FinetuneRequest,
    HeadSpec,
    InputOverrides,
    LoadingSpec,
    ModelSource,
    TrainingSpec,
)
from covtool.training import finetune
from covtool.training.parts.rate_choice import RateChoice, choose_rate
from covtool.training.run.observer import SilentObserver
from covtool.training.start.model_defaults import resolve_for_model
from covtool.training.start.prepare import (
    gather,
    open_source,
    read_layout,
    resolve_defaults,
)
from covtool.training.start.range_test import run_ramp

STARTS, OPTIMIZERS, MULTIPLES = ("calibrated", "new classifier"), ("sgd", "adamw"), (1, 3, 10)
EPOCHS, BATCH = 3, 16


def part_of(data: Path, output: Path, most: int) -> Path:
    """Write a list of at most so many training images, and half as many to validate on."""
    file = output / f"{data.name}.csv"
    layout = scan(data)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "label", "split"))
        for split, number in (("train", most), ("val", most // 2)):
            samples = layout.samples(split)
            for sample in samples[:: max(1, -(-len(samples) // number))]:
                writer.writerow((sample.path, layout.class_names[sample.label], split))
    return file


def calibrated(weights: Path, data: Path, output: Path, side: int) -> Path:
    """Return the file of a calibrated model, made where it is not there yet."""
    file = output / f"{data.stem}-isqrt.safetensors"
    if not file.exists():
        convert(
            ConversionRequest(
                source=ModelSource(
                    name=str(weights), input=InputOverrides(img_size=side).changes()
                ),
                operations=(HeadSpec(head="isqrt", dim=128),),
                calibrate_with=data,
                device="cpu",
                workers=0,
                output=file,
            )
        )
    return file


def request_of(model: Path, data: Path, start: str, opt: str, arguments: Any) -> FinetuneRequest:
    """Return the settings of a run: the defaults, but for what a CPU has no time for."""
    return FinetuneRequest(
        model=str(model),
        data=str(data),
        new_classifier=start != "calibrated",
        training=TrainingSpec(epochs=EPOCHS, batch_size=BATCH, opt=opt, workers=0, device="cpu"),
        loading=LoadingSpec(cache="ram"),
        faults=FaultSpec(),
        images=InputOverrides(img_size=arguments.side),
        output=str(arguments.output / "runs"),
    )


def test_rates(request: FinetuneRequest) -> list[tuple[float, float | None, float]]:
    """Return rates, training losses and held-out losses; the first are of the model as it came."""
    observer = SilentObserver()
    request = resolve_defaults(request, ALONE)
    layout = read_layout(request, observer)
    opened = open_source(request, observer, ALONE)
    request = resolve_for_model(request, opened.recipe, layout)
    points = run_ramp(gather(opened, request, layout, observer, ALONE), request, observer, ALONE)
    return [(point.lr, point.train_loss, point.held_out_loss) for point in points]


def choice_of(points: list[tuple[float, float | None, float]]) -> RateChoice:
    """Return the suggestion for the points of a ramp."""
    start, *updates = points
    rates, losses = [point[0] for point in updates], [point[-1] for point in updates]
    return choose_rate(rates, losses, start=start[-1])


def usual_choices(points: list[tuple[float, float | None, float]]) -> tuple[float, float]:
    """Return what usual rules would take from the same points.

    They are a tenth of the rate with the lowest loss, and the rate of the steepest descent.
    """
    finite = [(point[0], point[-1]) for point in points[1:] if math.isfinite(point[-1])]
    lowest, _ = min(finite, key=lambda point: point[1])
    slopes = [(b[1] - a[1], math.sqrt(a[0] * b[0])) for a, b in pairwise(finite)]
    return lowest / 10, min(slopes)[1]


def trained(request: FinetuneRequest, lr: float) -> dict[str, Any]:
    """Return losses and top-1 after each epoch at a rate."""
    training = request.training.model_copy(update={"lr": lr})
    try:
        result = finetune(request.model_copy(update={"training": training}))
    except NonFiniteError as problem:
        return {"diverged": problem.message}
    with (result.directory / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    shutil.rmtree(result.directory)
    names = ("train_loss", "eval_loss", "eval_top1")
    return {name: [float(row[name]) for row in rows] for name in names}


def done(file: Path) -> dict[str, Any]:
    """Return the rows that are there, by their key."""
    lines = file.read_text().splitlines() if file.exists() else ()
    return {row["key"]: row for row in map(json.loads, lines)}


def keep(file: Path, key: str, row: dict[str, Any]) -> dict[str, Any]:
    """Add a row."""
    row = {"key": key, **row}
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")
    print(key, row, flush=True)
    return row


def measure(data: Path, start: str, opt: str, multiple: int, arguments: Any) -> None:
    """Test the rates of one case, and train at a multiple of the suggestion."""
    file = arguments.output / f"rows-{data.stem}.jsonl"
    key = f"{data.stem}, {start}, {opt}"
    known = done(file)
    model = arguments.weights
    if start == "calibrated":
        model = calibrated(model, data, arguments.output, arguments.side)
    request = request_of(model, data, start, opt, arguments)
    ramp = known.get(key) or keep(file, key, {"points": test_rates(request)})
    choice = choice_of(ramp["points"])
    run = f"{key}, {choice.largest:.3g}, x{multiple}"
    if run not in known:
        lr = multiple * choice.lr
        keep(file, run, {"lr": lr, **trained(request, lr)})


def rows_of(cases: list[tuple[Path, str, str]], output: Path) -> Iterator[str]:
    """Yield the rows of the table."""
    for data, start, opt in cases:
        key = f"{data.stem}, {start}, {opt}"
        known = done(output / f"rows-{data.stem}.jsonl")
        points = known[key]["points"]
        choice = choice_of(points)
        cells = []
        for multiple in MULTIPLES:
            row = known[f"{key}, {choice.largest:.3g}, x{multiple}"]
            if "diverged" in row:
                cells.append("not finite")
            else:
                loss, top_1 = row["train_loss"][-1], row["eval_top1"][-1]
                cells.append(f"{loss:.2f}, {top_1:.1f} %")
        case = f"`{data.stem}` | {start} | {opt} | {points[0][-1]:.2f}"
        others = " | ".join(f"{rate:.2g}" for rate in usual_choices(points))
        yield f"| {case} | {choice.lr:g} | {' | '.join(cells)} | {others} |"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=96, help="training images of a data set")
    parser.add_argument("--side", type=int, default=64, help="pixels of an image's side")
    parser.add_argument("--start", action="append", choices=STARTS, help="default: both")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    parts = [part_of(data, arguments.output, arguments.images) for data in arguments.data]
    cases = list(product(parts, arguments.start or STARTS, OPTIMIZERS))
    # What matters most first: a start of this script may be ended before it is through.
    for multiple, case in product(MULTIPLES, cases):
        measure(*case, multiple, arguments)
    columns = ("data", "start", "optimizer", "loss before", "suggestion", "at it", "at 3x")
    columns += ("at 10x", "lowest / 10", "steepest")
    rule = ["---"] * 3 + ["---:"] * (len(columns) - 3)
    print(f"\n| {' | '.join(columns)} |\n| {' | '.join(rule)} |")
    print(*rows_of(cases, arguments.output), sep="\n")


if __name__ == "__main__":
    main()
