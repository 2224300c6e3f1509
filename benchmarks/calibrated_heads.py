"""Top-1 of every head on a frozen backbone, calibrated in closed form, nothing trained.

    python benchmarks/calibrated_heads.py MODEL --data cars30 --data dtd10 [--dim 256] [--json FILE]

The feature map is computed once for all heads. Reduction and classifier come from
`covtool.surgery.calibrate_head_`, as in `covtool convert --calibrate`. Where a head has a random
part (the hashes of cbp), it is drawn three times.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from covtool import open_model
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.layers.compact_bilinear import CompactBilinearPooling
from covtool.ops.sketch import CountSketch
from covtool.specs import HeadSpec
from covtool.surgery import HeadPlan, apply_head, calibrate_head_, plan_head, pooling_of
from covtool.variants import HEADS, Head

SQUASH = {"crop_mode": "squash", "crop_pct": 1.0}
EXTRA = {
    "mpn, alpha 0.3": {"head": "mpn", "alpha": 0.3},
    "mpn, alpha 0.7": {"head": "mpn", "alpha": 0.7},
    "logm, eps 0.1": {"head": "logm", "eps": 0.1},
    "isqrt, 3 iterations": {"head": "isqrt", "iterations": 3},
    "isqrt, 10 iterations": {"head": "isqrt", "iterations": 10},
}
Batches = list[tuple[Tensor, Tensor]]


class Tail(nn.Module):
    """What follows a feature map in an operated model, under the paths of its plan."""

    def __init__(self, model: nn.Module, plan: HeadPlan) -> None:
        super().__init__()
        self.plan = plan
        between = plan.sites.tail if plan.spec.own_average else ()
        self.paths = (plan.sites.pooling, *between, plan.sites.classifier)
        for path in self.paths:
            self.set_submodule(path, model.get_submodule(path))

    def forward(self, features: Tensor) -> Tensor:
        """Feature maps to logits."""
        for path in self.paths:
            features = self.get_submodule(path)(features)
        return features


def feature_maps(model: nn.Module, tap: str, loader: object) -> Batches:
    """Return the tapped map of every image, with its label."""
    kept = []
    hook = model.get_submodule(tap).register_forward_hook(
        lambda m, i, out: kept.append(out.clone())
    )
    labels = []
    with torch.inference_mode():
        for images, targets in loader:
            model(images)
            labels.append(targets)
    hook.remove()
    return list(zip(kept, labels, strict=True))


def redraw_(pooling: nn.Module, seed: int) -> None:
    """Other hashes."""
    for offset, name in enumerate(("first", "second")):
        drawn = CountSketch.draw(
            pooling.reduced_features, pooling.num_features, seed=1000 * seed + offset
        )
        getattr(pooling, f"{name}_buckets").copy_(drawn.buckets)
        getattr(pooling, f"{name}_signs").copy_(drawn.signs)


def measure(model: nn.Module, spec: HeadSpec, images: object, maps: dict, classes: int) -> dict:
    """Accuracy of one head, percent."""
    plan = plan_head(model, spec, images, num_classes=classes, new_classes=True)
    found = []
    for seed in range(3):
        tail = Tail(apply_head(model, plan), plan).eval()
        pooling = pooling_of(tail, plan)
        random = isinstance(pooling, CompactBilinearPooling)
        if random:
            redraw_(pooling, seed)
        count = sum(len(labels) for _, labels in maps["train"])
        done = calibrate_head_(tail, plan, maps["train"], num_images=count)
        with torch.inference_mode():
            right = [(tail(x).argmax(1) == y).double() for x, y in maps["test"]]
        found.append((done.left_out_top_1, 100 * torch.cat(right).mean().item()))
        if not random:
            break
    left_out, test = zip(*found, strict=True)
    return {
        "features": plan.in_features,
        "left_out": mean(left_out),
        "test": mean(test),
        "spread": max(test) - min(test),
    }


def spec_of(row: Head, dim: int, tap: str | None) -> HeadSpec:
    """Build a head as `convert --calibrate` would build it."""
    reduction = "linear" if row.second_order else row.reduction
    return HeadSpec(head=row.name, dim=dim, tap=tap, reduction=reduction)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--tap")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    opened = open_model(arguments.model, input=SQUASH)
    model, images = opened.model, opened.recipe.input
    specs = {row.name: spec_of(row, arguments.dim, arguments.tap) for row in HEADS}
    for name, changes in EXTRA.items():
        base = specs[changes["head"]]
        specs[name] = base.model_copy(update=changes)
    table: dict[str, dict] = {}
    for data in arguments.data:
        layout = scan(data)
        splits = {"train": layout.samples("train"), "test": layout.samples("val")}
        tap = plan_head(model, specs["isqrt"], images).tap.path
        maps = {
            split: feature_maps(
                model, tap, evaluation_loader(samples, images, batch_size=32, workers=0)
            )
            for split, samples in splits.items()
        }
        for name, spec in specs.items():
            row = measure(model, spec, images, maps, len(layout.class_names))
            table.setdefault(name, {})[layout.name] = row
            print(name, layout.name, row, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))
    print_table(table)


def print_table(table: dict[str, dict]) -> None:
    """Return the table in Markdown."""
    names = list(next(iter(table.values())))
    print("\n| head | features | " + " | ".join(f"{n}, left-out | {n}, test" for n in names) + " |")
    print("| --- | ---: |" + " ---: | ---: |" * len(names))
    for head, results in table.items():
        cells = []
        for result in results.values():
            spread = f" ± {result['spread'] / 2:.1f}" if result["spread"] else ""
            cells.append(f"{result['left_out']:.1f} % | {result['test']:.1f} %{spread}")
        features = next(iter(results.values()))["features"]
        print(f"| `{head}` | {features:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
