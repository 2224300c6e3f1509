"""A tiny data set with identities of a color each, and a run in SVDNet's phases on it."""

from pathlib import Path

import numpy as np
from PIL import Image
from retrieval_models import write_model
from training_runs import make_request

from covtool.specs import FinetuneRequest
from covtool.specs.finetuning import PHASED

TRAINED = {"ann": (200, 60, 60), "bob": (60, 200, 60), "cleo": (60, 60, 200), "dan": (190, 190, 60)}
SEARCHED = {"eve": (160, 90, 160), "finn": (90, 150, 150), "gus": (150, 120, 90)}
SHIFT = 20  # of an image's color from that of its identity, up to this
NOISE = 40  # of a pixel's from that of its image, up to this
EIGENVECTORS = 8
# Base, restraint 1 (2 epochs), relaxation 1, restraint 2 (2 epochs), relaxation 2: 28 updates.
PHASES = {
    "base_epochs": 1,
    "restraint_epochs": 2,
    "relaxation_epochs": 1,
    "rri": 2,
    "lrs": (0.05, 0.02),
    "stop_delta": 0,
}
UPDATES_PER_EPOCH = 4
# Other ones: base (2 epochs), restraint 1, relaxation 1 (2 epochs), restraint 2, relaxation 2 (2).
GENTLE = {
    "rri": 2,
    "base_epochs": 2,
    "restraint_epochs": 1,
    "relaxation_epochs": 2,
    "lr": 0.02,
    "lrs": (0.01,),
    "warmup_epochs": None,
}
GENTLE_EPOCHS = 8


def write_data(
    folder: Path, *, train: int = 6, test: int = 4, side: int = 32, query: bool = False
) -> Path:
    """A CSV file beside its images: so many of each identity, by two cameras in turn.

    With `query`, the first image of each test identity is searched for in the others.
    """
    generator = np.random.default_rng(0)
    rows = ["path,identity,camera,split"]
    for split, colors, count in (("train", TRAINED, train), ("test", SEARCHED, test)):
        for name, color in colors.items():
            (folder / name).mkdir(parents=True)
            for number in range(count):
                shift = generator.integers(-SHIFT, SHIFT, 3, endpoint=True)
                noise = generator.integers(0, NOISE, (side, side, 3))
                pixels = (np.array(color) + shift + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number}.png")
                part = ("gallery" if number else "query") if query and split == "test" else split
                rows.append(f"{name}/{number}.png,{name},c{number % 2 + 1},{part}")
    file = folder / "people.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def write_eigen_model(folder: Path) -> Path:
    """test_resnet with an Eigenlayer that starts at random, in a covtool file."""
    return write_model(folder, eigenlayer=EIGENVECTORS)


def svdnet_request(model: Path, data: Path, output: Path, **settings: object) -> FinetuneRequest:
    """A run in five short phases: any settings of `PHASED`, or fields of the request."""
    fields = {"model": str(model), "from_scratch": False, "lr": 0.1, "warmup_epochs": 0.5}
    return make_request(data, output, PHASED, **{**fields, **PHASES, **settings})
