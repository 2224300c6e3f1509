"""Whether positions with a large share matter: they are covered, and the logit is measured again.

    python benchmarks/explaining.py MODEL --data cars30/test [--images 100] [--sheet maps.png]

For each image the map of its right class is made. Patches are then replaced by the image blurred
beyond recognition, those of the largest values first (deletion); or all are blurred, and patches
come back in that order (insertion). Compared with the reverse order and with random ones, by the
mean over the images of the right class's logit, as a part of its way from the blurred image (0) to
the whole one (1), averaged over the steps. The order of a map at half the resolution of another
has ties; a patch is a position of the map.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

import covtool
from covtool.backbones.module_modes import in_eval_mode
from covtool.explaining import explain, overlay

STEPS = 5


def curve(model, images: Tensor, blurred: Tensor, labels: Tensor, order: Tensor, grid) -> Tensor:
    """Return logits of the right classes as patches are covered in an order, (STEPS + 1, B)."""
    ranks = order.argsort(dim=1)
    points = []
    for step in range(STEPS + 1):
        covered = (ranks < round(step * ranks.shape[1] / STEPS)).float().unflatten(1, grid)
        mask = interpolate(covered[:, None], size=images.shape[2:], mode="nearest")
        points.append(model(images.lerp(blurred, mask)).gather(1, labels[:, None])[:, 0])
    return torch.stack(points)


def measure(model, images: Tensor, labels: Tensor, methods: list[str]) -> dict[str, Tensor]:
    """Return for each order (deletion, insertion), each (B,)."""
    blurred = gaussian_blur(images, [101, 101], [25.0, 25.0])
    found, order, grid = {}, torch.empty(0), (1, 1)
    for name in [*methods, "random"]:
        if name == "random":
            order = torch.rand(order.shape).argsort(dim=1)
        else:
            maps = explain(model, images, labels, method=name).values
            grid = tuple(maps.shape[1:])
            order = maps.flatten(1).argsort(dim=1, descending=True)
        with torch.no_grad():
            deleted = curve(model, images, blurred, labels, order, grid)
            # Patches come back, the largest first: the last ones are those still covered.
            inserted = curve(model, images, blurred, labels, order.flip(1), grid).flip(0)
        whole, nothing = deleted[0], deleted[-1]
        scale = (whole - nothing).mean()
        found[name] = torch.stack(
            [((one - nothing) / scale).mean(dim=0) for one in (deleted, inserted)]
        )
    return found


def main() -> None:
    """Print a row for each order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--method", action="append", choices=["shares", "grad-cam"])
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    torch.manual_seed(0)
    model = covtool.load(asked.model)
    files = sorted(asked.data.glob("*/*"))
    files = files[:: max(1, len(files) // asked.images)][: asked.images]
    labels = torch.tensor([list(model.class_names).index(f.parent.name) for f in files])
    pixels = torch.stack([model.transform(Image.open(f).convert("RGB")) for f in files])
    gaps, rows = [], []
    with in_eval_mode(model):
        for batch, classes in zip(pixels.split(20), labels.split(20), strict=True):
            rows.append(measure(model, batch, classes, asked.method or ["shares", "grad-cam"]))
            maps = explain(model, batch, classes)
            gaps.append((maps.totals - maps.response).abs() / maps.response.abs())
    gap = torch.cat(gaps).max()
    print(f"{len(files)} images; {maps.method}; sum over response differs by {gap:.1e} at most")
    print("| order | deletion | insertion |\n| --- | ---: | ---: |")
    for name in rows[0]:
        means = torch.cat([row[name] for row in rows], dim=1).mean(dim=1)
        print(f"| {name} | {means[0]:.3f} | {means[1]:.3f} |")
    if asked.sheet:
        sheet(
            model, pixels[:: len(files) // 12][:12], labels[:: len(files) // 12][:12], asked.sheet
        )


def sheet(model, pixels: Tensor, labels: Tensor, path: Path) -> None:
    """Draw images, their shares and their Grad-CAM in three rows."""
    made = [explain(model, pixels, labels, method=m).values for m in ("shares", "grad-cam")]
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    arrays = ((pixels - low) / (high - low) * 255).byte().permute(0, 2, 3, 1).numpy()
    canvas = Image.new("RGB", (len(arrays) * 164, 3 * 164), "white")
    for column, array in enumerate(arrays):
        photo = Image.fromarray(array).resize((160, 160))
        for row, picture in enumerate([photo, *(overlay(photo, m[column]) for m in made)]):
            canvas.paste(picture, (column * 164, row * 164))
    canvas.save(path)


if __name__ == "__main__":
    main()
