"""Top-1 of one head over two feature maps against the same head over each, nothing trained.

    python benchmarks/joint_taps.py MODEL --data cars30 --data dtd10 --tap blocks --tap bn2

Reduction and classifier come from `covtool.surgery.calibrate_head_`, as in `covtool convert
--calibrate`. The network runs once on each image: the maps at all taps are kept, and each head
gets them by the modules that it taps.
"""

import argparse
from itertools import accumulate
from pathlib import Path

import torch
from calibrated_heads import SQUASH
from torch import Tensor, nn

from covtool import open_model
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.specs import HeadSpec
from covtool.surgery import HeadPlan, apply_head, calibrate_head_, plan_head

Batches = list[tuple[Tensor, Tensor]]


class Tail(nn.Module):
    """What follows the maps in an operated model, under the paths of its plan.

    Args:
        model: The operated model, whose modules and hooks it shares.
        plan: Plan of its head.
        shapes: Shape of each map (C, H, W), by its path, in the order in which they are packed.
    """

    def __init__(self, model: nn.Module, plan: HeadPlan, shapes: dict[str, torch.Size]) -> None:
        super().__init__()
        self.shapes = shapes
        self.reaching = (plan.sites.trunk[-1] if plan.spec.fuse else plan.tap).path
        between = plan.sites.tail if plan.spec.fuse or plan.spec.own_average else ()
        self.paths = (plan.sites.pooling, *between, plan.sites.classifier)
        for path in self.paths:
            self.set_submodule(path, model.get_submodule(path))
        self.tapped = nn.ModuleList(nn.Identity() for _ in shapes)
        for path, module in zip(shapes, self.tapped, strict=True):
            module._forward_hooks.update(model.get_submodule(path)._forward_hooks)

    def forward(self, packed: Tensor) -> Tensor:
        """Maps, flattened and joined, to logits."""
        ends = [0, *accumulate(shape.numel() for shape in self.shapes.values())]
        features = packed
        for k, (path, module) in enumerate(zip(self.shapes, self.tapped, strict=True)):
            found = module(packed[:, ends[k] : ends[k + 1]].unflatten(1, self.shapes[path]))
            features = found if path == self.reaching else features
        for path in self.paths:
            features = self.get_submodule(path)(features)
        return features


def packed_maps(
    model: nn.Module, taps: list[str], loader: object
) -> tuple[Batches, dict[str, torch.Size]]:
    """Return the maps of every image in one vector, with its label, and the shapes of the maps."""
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> object:
        return lambda module, arguments, output: seen.update({path: output.clone()})

    hooks = [model.get_submodule(path).register_forward_hook(keep(path)) for path in taps]
    batches = []
    with torch.inference_mode():
        for images, labels in loader:
            model(images)
            batches.append((torch.cat([seen[path].flatten(1) for path in taps], dim=1), labels))
    for hook in hooks:
        hook.remove()
    return batches, {path: seen[path].shape[1:] for path in taps}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--tap", action="append", required=True)
    parser.add_argument("--head", action="append")
    parser.add_argument("--dim", type=int, default=256)
    arguments = parser.parse_args()
    opened = open_model(arguments.model, input=SQUASH)
    model, images = opened.model, opened.recipe.input
    whole = plan_head(model, HeadSpec(dim=8, tap=tuple(arguments.tap)), images)
    taps = [tap.path for tap in whole.taps]
    packing = list(dict.fromkeys([*taps, whole.sites.trunk[-1].path]))
    choices = [*taps, tuple(taps)] if len(taps) > 1 else taps
    table: dict[tuple[str, str], list[str]] = {}
    for data in arguments.data:
        layout = scan(data)
        maps = {}
        for split, samples in (("train", layout.samples("train")), ("test", layout.samples("val"))):
            loader = evaluation_loader(samples, images, batch_size=32, workers=0)
            maps[split], shapes = packed_maps(model, packing, loader)
        for head in arguments.head or ["isqrt"]:
            for fuse in (None, "gap") if head != "gap" else (None,):
                for tap in choices:
                    reduction = "none" if head == "gap" else "linear"
                    spec = HeadSpec(
                        head=head, dim=arguments.dim, tap=tap, fuse=fuse, reduction=reduction
                    )
                    plan = plan_head(
                        model, spec, images, num_classes=len(layout.class_names), new_classes=True
                    )
                    tail = Tail(apply_head(model, plan), plan, shapes).eval()
                    count = sum(len(labels) for _, labels in maps["train"])
                    done = calibrate_head_(tail, plan, maps["train"], num_images=count)
                    with torch.inference_mode():
                        right = [(tail(x).argmax(1) == y).double() for x, y in maps["test"]]
                    test = 100 * torch.cat(right).mean().item()
                    label = f"`{head}`" + (f" with `--fuse {fuse}`" if fuse else "")
                    named = " + ".join(f"`{path}`" for path in plan.spec.taps)
                    row = table.setdefault((label, named), [f"{plan.in_features:,}"])
                    row += [f"{done.left_out_top_1:.1f} %", f"{test:.1f} %"]
                    print(layout.name, label, named, *row, flush=True)
    names = [data.name for data in arguments.data]
    print(
        "\n| head | taps | features | " + " | ".join(f"{n} left-out | {n} test" for n in names), "|"
    )
    print("| --- | --- | ---: |" + " ---: | ---: |" * len(names))
    for (label, named), row in table.items():
        print(f"| {label} | {named} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
