"""Files whose weights are in half precision: every command works with them, or refuses."""

import json

import pytest
import torch
from images import write_classes
from in_process import covtool

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.ops.neighbors import Neighbors, normalized
from covtool.specs import BaseSpec, InputSpec, NeighborSpec, Provenance, Recipe

RUN = ("--device", "cpu", "-j", 0)


def make():
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    torch.nn.init.normal_(model.get_classifier().weight, std=3)
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=("a", "b", "c"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
        neighbors=NeighborSpec(layer="fc", nearest=3, data="toy", images=9),
    )
    model.neighbors = Neighbors.of(normalized(torch.rand(9, model.num_features)))
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_classes(root / "known" / "val", {"a": 3, "b": 4, "c": 2})
    write_classes(root / "unknown", {"x": 2})
    return root


@pytest.fixture(scope="module", params=[torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def half(request, tmp_path_factory):
    """Files of the same weights in half precision and in float32."""
    folder = tmp_path_factory.mktemp("models")
    model = make().to(request.param)
    path = save(model, folder / "half.safetensors")
    save(model.float(), folder / "float32.safetensors")
    return path


def of(*arguments):
    done = covtool(*arguments, *RUN, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_evaluation_is_near_that_in_float32(half, data) -> None:
    options = ("--data", data / "known", "--unknown", data / "unknown")
    found = of("evaluate", half, *options)
    exact = of("evaluate", half.with_name("float32.safetensors"), *options)
    assert found["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert found["nll"] == pytest.approx(exact["nll"], rel=0.05)
    assert found["unknown"]["distance"] is not None


def test_predictions_are_those_of_an_evaluation(half, data) -> None:
    found = of("predict", half, data / "known")
    exact = of("predict", half.with_name("float32.safetensors"), data / "known")
    for one, other in zip(found["predictions"], exact["predictions"], strict=True):
        assert one["classes"][0] == other["classes"][0]
        assert one["probabilities"][0] == pytest.approx(other["probabilities"][0], abs=0.02)
        assert one["distance"] == pytest.approx(other["distance"], abs=0.02)


def test_embeddings_are_written(half, data, tmp_path) -> None:
    assert of("embed", half, data / "known", "-o", tmp_path / "e.npz")["images"] == {"val": 9}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("evaluate", ("--attack", "fgsm", "--eps", "4/255")),
        *((c, ("--amp",)) for c in ("evaluate", "predict", "embed")),
    ],
)
def test_what_needs_full_precision_is_refused(command, option, half, data, tmp_path) -> None:
    images = {
        "evaluate": ("--data", data / "known"),
        "predict": (data / "known",),
        "embed": (data / "known", "-o", tmp_path / "e.npz"),
    }
    done = covtool(command, half, *images[command], *option, *RUN)
    assert done.returncode == 2
    assert "float16" in done.stderr  # of either
    assert not list(tmp_path.iterdir())


def test_a_program_computes_in_float32_unless_half_is_asked_for(tmp_path) -> None:
    half = save(make().bfloat16(), tmp_path / "half.safetensors")
    done = covtool("export", half, "-o", tmp_path / "net.pt2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["precision"] == "float32"
