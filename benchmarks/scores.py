"""What predictions say about themselves: calibration, and images of classes that are not known.

    python benchmarks/scores.py MODEL --data cars30 --output DIR [--unknown 10]

The last classes are left out: a head is calibrated on the others, as `covtool convert --calibrate`
does it, and measured on their test images; those of the classes left out are the unknown ones. The
feature map of each image is computed once and kept in DIR, from where the command goes on. Beside
the compressed embeddings that a file keeps, exact ones in float32 are measured, and other numbers
of nearest ones.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from calibrated_heads import SQUASH, Batches, Tail, feature_maps
from torch import Tensor
from torch.nn import functional as F

from covtool import open_model
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.evaluation.classification.probabilities import ProbabilityCounts, doubt_of
from covtool.evaluation.classification.unknown import detection_figures
from covtool.ops.neighbors import Neighbors, normalized, sketch_for
from covtool.specs import HeadSpec
from covtool.specs.scores import NEAREST
from covtool.surgery import apply_head, calibrate_head_, plan_head

HEADS = {
    "gap": HeadSpec(head="gap", tap="bn2"),
    "isqrt": HeadSpec(head="isqrt", dim=256, tap="bn2", reduction="linear"),
}
COUNTS = (1, NEAREST, 10, 20, 50)


def samples_of(layout: DataLayout, unknown: int) -> dict[str, list[Sample]]:
    """Return training and test images of the known classes, and test images of the others."""
    known = len(layout.class_names) - unknown
    train, test = layout.samples("train"), layout.samples("val")
    return {
        "train": [sample for sample in train if sample.label < known],
        "known": [sample for sample in test if sample.label < known],
        "unknown": [sample for sample in test if sample.label >= known],
    }


def maps_of(arguments: argparse.Namespace, opened: object) -> dict[str, Batches]:
    """Return the feature maps, those in the folder or new ones."""
    maps = {}
    for name, samples in samples_of(scan(arguments.data), arguments.unknown).items():
        file = arguments.output / f"{name}.pt"
        if not file.exists():
            loader = evaluation_loader(samples, opened.recipe.input, batch_size=32, workers=0)
            torch.save(feature_maps(opened.model, "bn2", loader), file)
        maps[name] = torch.load(file, weights_only=True)
        print(name, sum(len(labels) for _, labels in maps[name]), "images", flush=True)
    return maps


def run(tail: Tail, batches: Batches) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings, logits and labels."""
    fed, logits = [], []
    hook = tail.get_submodule(tail.paths[-1]).register_forward_pre_hook(
        lambda _, given: fed.append(given[0])
    )
    with torch.inference_mode():
        logits = [tail(maps) for maps, _ in batches]
    hook.remove()
    return torch.cat(fed), torch.cat(logits), torch.cat([labels for _, labels in batches])


def exact(queries: Tensor, embeddings: Tensor, nearest: int) -> Tensor:
    """Return the mean distance to the nearest embeddings, all in float32."""
    distances = torch.cdist(F.normalize(queries, dim=1), F.normalize(embeddings, dim=1))
    return distances.topk(nearest, largest=False).values.mean(dim=1)


def calibration_row(name: str, logits: Tensor, labels: Tensor, temperature: float) -> str:
    """Return a row of the first table."""
    cells = []
    for value in (1.0, temperature):
        counts = ProbabilityCounts(value)
        counts.add(logits, labels)
        figures = counts.result(logits.argmax(dim=1) == labels)
        cells.append(f"{figures.nll:.3f} | {figures.ece:.1f} % | {figures.adaptive_ece:.1f} %")
    top_1 = 100 * (logits.argmax(dim=1) == labels).double().mean()
    return f"| `{name}` | {top_1:.1f} % | {temperature:.3f} | {' | '.join(cells)} |"


def detection_rows(
    name: str, parts: dict[str, tuple[Tensor, Tensor, Tensor]], temperature: float
) -> Iterator[str]:
    """Yield rows of the second table."""
    train, known, unknown = (parts[part][0] for part in ("train", "known", "unknown"))
    sketch = sketch_for(train.shape[1])
    kept = Neighbors.of(normalized(train, sketch), sketch)
    bytes_each = sum(t.nbytes for t in kept.tensors.values()) / len(kept)
    scores = {
        "1 - largest probability": ("", [doubt_of(parts[p][1], temperature) for p in parts][1:])
    }
    for count in COUNTS:
        scores[f"distance to {count}, float32"] = (
            f"{4 * train.shape[1]:,}",
            [exact(queries, train, count) for queries in (known, unknown)],
        )
        scores[f"distance to {count}, as kept"] = (
            f"{bytes_each:,.0f}",
            [kept.distances(queries, nearest=count) for queries in (known, unknown)],
        )
    for score, (size, values) in scores.items():
        found = detection_figures(*values)
        yield f"| `{name}` | {score} | {size} | {found.auroc:.2f} % | {found.fpr_at_95:.1f} % |"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--unknown", type=int, default=10)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    opened = open_model(arguments.model, input=SQUASH)
    maps = maps_of(arguments, opened)
    classes = len(scan(arguments.data).class_names) - arguments.unknown
    first, second = [], []
    for name, spec in HEADS.items():
        plan = plan_head(
            opened.model, spec, opened.recipe.input, num_classes=classes, new_classes=True
        )
        tail = Tail(apply_head(opened.model, plan), plan).eval()
        count = sum(len(labels) for _, labels in maps["train"])
        done = calibrate_head_(tail, plan, maps["train"], num_images=count)
        parts = {part: run(tail, batches) for part, batches in maps.items()}
        temperature = done.predictions.temperature
        first.append(calibration_row(name, *parts["known"][1:], temperature))
        second += detection_rows(name, parts, temperature)
    print("\n| head | top-1 | temperature | NLL at 1 | ECE | adaptive | NLL | ECE | adaptive |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", *first, sep="\n")
    print("\n| head | score | bytes an image | area under ROC | unknown accepted with 95 % |")
    print("| --- | --- | ---: | ---: | ---: |", *second, sep="\n")


if __name__ == "__main__":
    main()
