"""What a classifier learns from training images that are decoded at a fraction of their size.

    python benchmarks/scaled_decoding.py MODEL --data cars30 [--img-size 96] [--seeds 5]

For each seed the same random crops are read twice: as `covtool finetune` reads them, and as it does
with ``--exact-decode``. The frozen network's features of both (before its classifier) each give a
ridge classifier, its penalty by leave-one-out, which is measured on the same evaluation images.
``--long-side`` enlarges the images first, as `covtool bench data --long-side` does.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool import open_model
from covtool.benchmarking.photographs import enlarged
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.images import jpeg
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.ops.ridge import fit_ridge
from covtool.progress import silent
from covtool.specs import AugmentationSpec, InputSpec

WAYS = {"scaled": False, "exact": True}


def features_of(model: nn.Module, loader: object) -> tuple[Tensor, Tensor]:
    """Return the features before the classifier and the labels of all images."""
    found, labels = [], []
    with torch.inference_mode():
        for images, targets in loader:
            found.append(model.forward_head(model.forward_features(images), pre_logits=True))
            labels.append(targets)
    return torch.cat(found).double(), torch.cat(labels)


class Counted(jpeg.JpegDecoder):
    """Counts images, and those that are not decoded at full size."""

    all = scaled = 0

    def __call__(self, *args: object, **settings: object) -> object:
        Counted.all += 1
        Counted.scaled += settings["divisor"] > 1
        return super().__call__(*args, **settings)


def training_features(
    model: nn.Module, samples: list[Sample], input: InputSpec, seed: int, exact: bool
) -> tuple[Tensor, Tensor]:
    """Return features and labels of one epoch of random crops."""
    loader = training_loader(
        samples,
        input,
        AugmentationSpec(),
        workers=0,
        seed=seed,
        drop_last=False,
        exact_decode=exact,
    )
    loader.dataset.dataset.render._decoder = Counted()
    loader.set_epoch(0)
    return features_of(model, loader)


def top_1(training: tuple[Tensor, Tensor], evaluation: tuple[Tensor, Tensor]) -> float:
    """Return the accuracy of a ridge classifier, in percent."""
    features, labels = training
    targets = F.one_hot(labels).double()
    fit = fit_ridge(features, targets)
    found = (evaluation[0] @ fit.weight.T + fit.bias).argmax(1)
    return 100 * (found == evaluation[1]).double().mean().item()


def main() -> None:
    """Print a row per seed, and the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--long-side", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    opened = open_model(args.model)
    model = opened.model.eval()
    input = opened.recipe.input.model_copy(update={"size": (args.img_size, args.img_size)})
    layout = scan(args.data)
    training = list(layout.splits["train"])
    with tempfile.TemporaryDirectory() as scratch:
        if args.long_side:
            names = layout.class_names
            large = enlarged(training, names, args.long_side, Path(scratch) / "large", silent)
            training = list(scan(large).splits["train"])
        evaluation = features_of(model, evaluation_loader(layout.samples("val"), input, workers=0))
        differences = []
        for seed in range(args.seeds):
            Counted.all = Counted.scaled = 0
            found = {
                name: training_features(model, training, input, seed, exact)
                for name, exact in WAYS.items()
            }
            assert torch.equal(found["scaled"][1], found["exact"][1])  # the same order of images
            accuracy = {name: top_1(features, evaluation) for name, features in found.items()}
            share = 200 * Counted.scaled / Counted.all  # of the first of two readings
            unlike = (found["scaled"][0] - found["exact"][0]).norm(dim=1)
            unlike = (unlike / found["exact"][0].norm(dim=1)).mean().item()
            differences.append(accuracy["scaled"] - accuracy["exact"])
            print(
                f"seed {seed}: {share:.0f} % of crops scaled, features {unlike:.3f} apart, top-1 "
                f"scaled {accuracy['scaled']:.2f}, exact {accuracy['exact']:.2f}",
                flush=True,
            )
    spread = stdev(differences) if len(differences) > 1 else float("nan")
    print(f"scaled minus exact: {mean(differences):+.2f} (deviation over seeds {spread:.2f})")


if __name__ == "__main__":
    main()
