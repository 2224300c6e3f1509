"""A tiny model and a gallery of toy images, for indices."""

from pathlib import Path

import torch
from images import write_image
from retrieval_models import make_model, write_model

from covtool.checkpoints.model_file import save

NAMES = ("ann", "bob", "cleo", "dan")
PER_NAME = 5
QUICK = {"workers": 0, "device": "cpu"}


def write_gallery(root: Path, names=NAMES, count=PER_NAME) -> Path:
    """A CSV of images with identities and two cameras."""
    rows = ["path,identity,camera"]
    for person, name in enumerate(names):
        for number in range(count):
            path = write_image(root / name / f"{number}.png", seed=100 * person + number)
            rows.append(f"{path.relative_to(root)},{name},c{number % 2}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root / "list.csv"


def make_net(folder: Path, *, seed: int = 0) -> Path:
    """A model in a file; another seed makes another model."""
    folder.mkdir(parents=True, exist_ok=True)
    if not seed:
        return write_model(folder)
    model = make_model()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return save(model, folder / "net.safetensors")
