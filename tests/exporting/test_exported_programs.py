"""Every kind of model leaves covtool: it runs elsewhere, and answers as it did."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_models import (
    BASES,
    EVERY_HEAD,
    EVERY_OPERATION,
    EVERY_OPERATOR,
    FUSED,
    NAMES,
    TAPS,
    head,
    model_of,
    write_model_of,
)
from operation_cases import CLASSES, IMAGES, RESNET, VIT
from toy_data import write_toy_data

import covtool
from covtool.checkpoints.model_file import save
from covtool.data.transforms.from_timm import evaluation_pixels
from covtool.data.transforms.normalization import normalization
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    NonFiniteError,
    SurgeryError,
    VerificationError,
)
from covtool.exporting import ExportRequest, ExportResult, export, proving
from covtool.exporting.quantizing import TYPES
from covtool.specs import ConvolutionSpec, EigenlayerSpec, InputSpec, Recipe

FLOAT32 = 1e-4
"""Difference over the spread that another order of sums may make."""

ROOTS = ("mpn", "seb", "gaussian", "mpa", "mpn+F", "mpn+M")
NO_ROOT = ("logm",)
EXPORTED = {
    **{name: made for name, made in EVERY_HEAD.items() if name not in NO_ROOT},
    **FUSED,
    **EVERY_OPERATOR,
    **EVERY_OPERATION,
}
QUICK = ("isqrt", "angular square-cosine")
"""A root, and cosines of patches."""


@pytest.fixture(autouse=True, scope="module")
def few_repetitions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proving, "REPETITIONS", 3)
        yield


@pytest.fixture(scope="module")
def isqrt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_of(tmp_path_factory.mktemp("isqrt"), head("isqrt"))


@pytest.fixture(scope="module")
def whole(isqrt: Path) -> ExportResult:
    """The program of `isqrt` as it is exported without any setting."""
    return exported(isqrt, "whole.onnx")


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("data") / "colors", train=4, val=3)


def exported(model: Path, name: str = "net.onnx", **settings: object) -> ExportResult:
    request = ExportRequest(source=str(model), output=model.parent / name, overwrite=True)
    return export(replace(request, **settings))


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def assert_same_answers(model: Path, onnx_file: Path, images: InputSpec = IMAGES) -> None:
    """In onnxruntime itself, for a batch that the export did not run."""
    batch = torch.randn(3, 3, *images.size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        wanted = covtool.load(model)(batch)
    (got,) = session_of(onnx_file).run(["logits"], {"images": batch.numpy()})
    assert np.abs(got - wanted.numpy()).max() <= FLOAT32 * float(wanted.std(dim=1).mean())


def export_and_compare(name: str, suffix: str, folder: Path) -> None:
    model = write_model_of(folder, *EXPORTED[name], base=BASES.get(name, RESNET))
    root = "newton-schulz" if name in ROOTS and suffix == ".onnx" else None
    done = exported(model, f"net{suffix}", root=root)
    assert done.proof.relative_difference <= FLOAT32
    assert done.proof.batch_sizes == (1, 7)
    if suffix == ".onnx" and root is None:
        assert_same_answers(model, done.path)


@pytest.mark.parametrize("name", QUICK)
def test_model_answers_in_onnxruntime_as_in_torch(name: str, tmp_path: Path) -> None:
    export_and_compare(name, ".onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in EXPORTED if n not in QUICK])
def test_every_row_answers_in_onnxruntime_as_in_torch(name: str, tmp_path: Path) -> None:
    export_and_compare(name, ".onnx", tmp_path)


def test_program_of_torch_keeps_the_solver(tmp_path: Path) -> None:
    export_and_compare("mpn", ".pt2", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EVERY_HEAD, *EVERY_OPERATION])
def test_every_row_is_a_program_of_torch(name: str, tmp_path: Path) -> None:
    operations = {**EVERY_HEAD, **EVERY_OPERATION}[name]
    model = write_model_of(tmp_path, *operations, base=BASES.get(name, RESNET))
    assert exported(model, "net.pt2").proof.relative_difference <= FLOAT32


@pytest.mark.parametrize("name", ["vit isqrt beside gap", "two maps", "two maps beside gap"])
def test_tokens_and_several_maps_are_exported(name: str, tmp_path: Path) -> None:
    operations, base, images = TAPS[name]
    model = write_model_of(tmp_path, *operations, base=base, images=images)
    assert exported(model).proof.relative_difference <= FLOAT32
    assert_same_answers(model, tmp_path / "net.onnx", images)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("name", TAPS)
def test_every_tap_is_exported(name: str, suffix: str, tmp_path: Path) -> None:
    operations, base, images = TAPS[name]
    model = write_model_of(tmp_path, *operations, base=base, images=images)
    assert exported(model, f"net{suffix}").proof.relative_difference <= FLOAT32


def test_file_says_what_it_is(isqrt: Path, whole: ExportResult) -> None:
    texts = metadata_of(whole.path)
    recipe = Recipe.model_validate_json(texts["recipe"])
    assert recipe == covtool.load(isqrt).recipe
    assert json.loads(texts["class_names"]) == list(NAMES)
    assert texts["temperature"] == "2.5"
    assert json.loads(texts["input"])["mean"] == list(IMAGES.mean)
    assert json.loads(texts["proof"])["largest_difference"] == whole.proof.largest_difference
    model = onnx.load(whole.path)
    assert model.opset_import[0].version == whole.opset == 18
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not any(node.metadata_props for node in model.graph.node)  # paths of this machine


def test_pixels_go_in_where_preparation_is_part_of_the_program(isqrt: Path) -> None:
    done = exported(isqrt, preprocess=True)
    assert done.interface.shape == ("batch", 64, 64, 3)
    pixels = torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        wanted = covtool.load(isqrt)(normalization(IMAGES)(pixels.permute(0, 3, 1, 2)))
    (got,) = session_of(done.path).run(None, {"pixels": pixels.numpy()})
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_half_precision_takes_and_gives_float32(isqrt: Path, whole: ExportResult) -> None:
    done = exported(isqrt, half=True)
    session = session_of(done.path)
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"
    assert done.num_bytes < 0.75 * whole.num_bytes
    assert whole.proof.relative_difference < done.proof.relative_difference < 0.1
    kinds = {t.name: t.data_type for t in onnx.load(done.path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds.values()


def test_int8_leaves_the_root_in_float(isqrt: Path, colors: Path) -> None:
    done = exported(isqrt, int8=True, calibrate=colors, data=colors, images=8, tolerance=1)
    nodes = onnx.load(done.path).graph.node
    made = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    in_int8 = [n for n in nodes if n.op_type in TYPES and n.input[0] in made]
    assert done.quantized == len(in_int8) > 5
    assert {n.op_type for n in in_int8} <= {"Conv", "Gemm"}  # the root multiplies by MatMul
    assert done.proof.data == "colors, val"
    assert done.proof.agreement is not None


def test_int8_is_compared_on_its_own_images_where_there_are_no_others(
    isqrt: Path, colors: Path
) -> None:
    done = exported(isqrt, int8=True, calibrate=colors, images=5, tolerance=1)
    assert done.proof.images == 5
    assert any("that it was calibrated on" in note for note in done.notes)


@pytest.mark.slow
def test_operators_stay_in_float(tmp_path: Path, colors: Path) -> None:
    spec = ConvolutionSpec(conv="tanh", target=("all",))
    model = write_model_of(tmp_path, spec)
    done = exported(model, int8=True, calibrate=colors, images=3, tolerance=1)
    assert done.quantized == 1  # the classifier


def test_root_is_replaced_and_the_loss_said(tmp_path: Path, colors: Path) -> None:
    model = write_model_of(tmp_path, head("mpn"))
    done = exported(model, root="newton-schulz", iterations=5, data=colors, images=4)
    assert done.root.iterations == 5
    assert done.root.loss.largest_difference > 10 * done.proof.largest_difference
    assert done.root.loss.agreement is not None
    assert json.loads(metadata_of(done.path)["root"])["heads"] == done.root.heads


def test_solver_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = write_model_of(tmp_path, head("gaussian"))
    with pytest.raises(SurgeryError, match=r"needs torch\.linalg\.eigh, which onnx does not have"):
        exported(model)
    assert not (tmp_path / "net.onnx").exists()


def test_logarithm_is_refused_even_with_a_root(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="has no Newton-Schulz form"):
        exported(write_model_of(tmp_path, head("logm")), root="newton-schulz")


def test_root_of_a_model_without_a_solver_is_refused(isqrt: Path) -> None:
    with pytest.raises(SurgeryError, match="the model needs no solver"):
        exported(isqrt, root="newton-schulz")


@pytest.mark.parametrize("name", [pytest.param("net2.onnx", marks=pytest.mark.slow), "net2.pt2"])
def test_program_beyond_the_tolerance_leaves_nothing(isqrt: Path, name: str) -> None:
    with pytest.raises(VerificationError, match="differs by up to"):
        exported(isqrt, name, tolerance=0, half=True)
    assert not [path for path in isqrt.parent.iterdir() if "net2" in path.name]


def test_numbers_that_are_not_finite_keep_no_tolerance() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    proof = proving.compare(logits, {1: logits * torch.nan}, None)
    with pytest.raises(VerificationError):
        proving.require_close(proof, "float32", float("inf"))


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.float64, marks=pytest.mark.slow)]
)
def test_file_of_another_precision_is_compared_in_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = save(model_of(head("isqrt")).to(dtype), tmp_path / "net.safetensors")
    done = exported(model, "net.pt2")
    assert done.precision == "float32"
    assert done.proof.relative_difference <= FLOAT32
    assert any(str(dtype).removeprefix("torch.") in note for note in done.notes)


def test_random_classifier_is_refused(tmp_path: Path) -> None:
    request = ExportRequest(source="test_resnet", output=tmp_path / "net.onnx")
    source = request.source.model_copy(update={"from_scratch": True})
    with pytest.raises(CheckpointError, match="no trained classifier"):
        export(replace(request, source=source))


def test_logits_that_are_no_numbers_are_refused(isqrt: Path) -> None:
    model = covtool.load(isqrt)
    batch = torch.zeros(1, 3, 64, 64)
    images = proving.Images(normalized=batch * torch.nan, pixels=None)
    with pytest.raises(NonFiniteError, match="not finite"):
        proving.expected_answers(model, images)


def test_weights_beyond_two_gigabytes_are_refused(
    isqrt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covtool.exporting.onnx_model.LARGEST_BYTES", 1000)
    with pytest.raises(ArgumentError, match="one ONNX file holds 2 GB"):
        exported(isqrt)


def test_program_of_torch_keeps_its_metadata(tmp_path: Path) -> None:
    model = write_model_of(tmp_path, EigenlayerSpec(features=4), base=VIT)
    done = exported(model, "net.pt2", preprocess=True)
    texts = {"recipe": "", "class_names": "", "input": ""}
    program = torch.export.load(done.path, extra_files=texts).module()
    assert Recipe.model_validate_json(texts["recipe"]) == covtool.load(model).recipe
    assert json.loads(texts["input"])["shape"] == ["batch", 64, 64, 3]
    pixels = torch.zeros(5, 64, 64, 3, dtype=torch.uint8)
    assert program(pixels).shape == (5, CLASSES)


@pytest.mark.slow
def test_program_of_torch_runs_without_covtool(isqrt: Path) -> None:
    done = exported(isqrt, "net.pt2")
    code = (
        "import sys, torch\n"
        f"program = torch.export.load({str(done.path)!r}).module()\n"
        "print(tuple(program(torch.zeros(3, 3, 64, 64)).shape))\n"
        "assert not {'covtool', 'timm'} & sys.modules.keys()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"(3, {CLASSES})"


def test_images_are_prepared_as_for_evaluation(colors: Path) -> None:
    from PIL import Image

    from covtool.exporting.samples import images_of

    found = images_of(colors, IMAGES, 3, held_out=True)
    assert found.data == "colors, val"
    first = Image.open(colors / "val" / "blue" / "0.png").convert("RGB")
    wanted = normalization(IMAGES)(evaluation_pixels(IMAGES)(first)[None])
    assert torch.equal(found.normalized[:1], wanted)
    assert torch.equal(normalization(IMAGES)(found.pixels.permute(0, 3, 1, 2)), found.normalized)
