"""What covtool writes beside models is named where a model is expected, with what takes it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from images import write_image
from in_process import covtool
from indexed_images import QUICK
from onnx import TensorProto, helper
from retrieval_models import write_model
from toy_data import write_toy_data

from covtool.checkpoints import open_model, read_checkpoint
from covtool.errors import CheckpointError
from covtool.evaluation.embed import EmbedRequest, embed
from covtool.indexing.building import IndexRequest, build_index

FEATURES = ("holds features of images", "--distances-from")
PROGRAM = ("torch.export", "It holds a graph")
OTHERS = {
    "gallery.index": ("an index of images", "covtool search"),
    "features.safetensors": FEATURES,
    "features.npz": FEATURES,
    "arrays.npz": ("not a checkpoint", "NumPy arrays"),
    "net.onnx": ("not a checkpoint", "an ONNX program"),
    "net.pt2": PROGRAM,
    "README.md": ("not a checkpoint", "a model card"),
    "gallery.index.0123456789ab.faiss": ("not a checkpoint", "--backend faiss"),
    "photo.png": ("not a checkpoint", "they come after the model"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    faiss = pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("written")
    net = write_model(folder)
    write_toy_data(folder / "data", train=1, val=1)
    images = write_image(folder / "photos" / "a.png").parent
    write_image(images / "b.png", seed=1)
    asked = {"source": str(net), **QUICK}
    build_index(IndexRequest(images=(images,), output=folder / "gallery.index", **asked))
    for name in ("features.safetensors", "features.npz"):
        embed(EmbedRequest(images=images, output=folder / name, **asked))
    np.savez(folder / "arrays.npz", weight=np.zeros(2))
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    onnx.save(helper.make_model(graph, producer_name="covtool"), folder / "net.onnx")
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, folder / "net.pt2")
    assert covtool("card", net, "-o", folder / "README.md").returncode == 0
    quantizer = faiss.IndexFlatIP(2)
    lists = faiss.IndexIVFScalarQuantizer(quantizer, 2, 1, faiss.ScalarQuantizer.QT_8bit)
    faiss.write_index(lists, str(folder / "gallery.index.0123456789ab.faiss"))
    (images / "a.png").rename(folder / "photo.png")
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_model_is_named_with_what_takes_it(folder: Path, name: str) -> None:
    for read in (read_checkpoint, open_model):
        with pytest.raises(CheckpointError) as caught:
            read(folder / name)
        text = f"{caught.value.message} {caught.value.reason} {caught.value.hint}"
        assert all(part in text for part in (name, *OTHERS[name])), text


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "FILE"),
        ("convert", "FILE", "--head", "gap"),
        ("evaluate", "FILE", "--data", "data"),
        ("predict", "FILE", "photos"),
        ("card", "FILE"),
        ("diff", "FILE", "net.safetensors"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_says_it(folder: Path, arguments: tuple[str, ...]) -> None:
    given = ("gallery.index" if argument == "FILE" else argument for argument in arguments)
    done = covtool(*given, cwd=folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is an index of images, not a model" in done.stderr
    assert "of no architecture" not in done.stderr


def test_an_image_in_the_place_of_a_model_and_a_model_in_that_of_images(folder: Path) -> None:
    done = covtool("predict", "photos", "net.safetensors", cwd=folder)
    assert done.returncode == 4
    assert "stands before the images" in done.stderr
    done = covtool("index", "photos", "net.safetensors", "-o", "new.index", cwd=folder)
    assert "stands before the images" in done.stderr
