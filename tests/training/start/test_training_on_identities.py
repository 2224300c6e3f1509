"""Data for retrieval trains a classifier of its training identities."""

import csv

import pytest
from retrieval_trees import write_csv, write_market
from toy_data import COLORS, write_toy_data
from training_runs import Recorder, make_request

from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import DataError
from covtool.specs import HeadSpec, ModelSource
from covtool.training import finetune, plan_finetune, resume_finetune


@pytest.fixture
def colored_people(tmp_path):
    """Three identities to train, told apart by color, and two to search in."""
    root = write_toy_data(tmp_path / "images")
    rows = [
        (path.relative_to(tmp_path), path.parent.name, "", "train")
        for path in sorted((root / "train").rglob("*.png"))
    ]
    rows += [
        (path.relative_to(tmp_path), f"unseen {path.parent.name}", "", "test")
        for path in sorted((root / "val").rglob("*.png"))
    ]
    file = tmp_path / "people.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("path", "identity", "camera", "split"), *rows])
    return file


def test_a_csv_file_of_identities_is_learned_and_resumed(colored_people, tmp_path):
    settings = {"val_fraction": 0.25, "epochs": 6, "lr": 0.05}
    request = make_request(colored_people, tmp_path / "runs", **settings)
    observer = Recorder()
    result = finetune(request, observer=observer)
    (plan,) = observer.plans
    assert (plan.training_images, plan.validation_images, plan.num_classes) == (27, 9, 3)
    assert result.best > 90
    assert load(result.exported["best"]).recipe.class_names == tuple(sorted(COLORS))
    assert resume_finetune(result.directory).best == result.best


def test_nothing_to_validate_on_is_refused_with_what_to_do(tmp_path):
    request = make_request(write_csv(tmp_path), tmp_path / "runs")
    with pytest.raises(DataError, match=r"nothing to validate on(.|\n)*--val-fraction"):
        finetune(request)
    assert not (tmp_path / "runs").exists()


def test_published_forms_are_trained_on_as_they_are(tmp_path):
    request = make_request(
        write_market(tmp_path), tmp_path / "runs", val_fraction=0.5, batch_size=2
    )
    plan = plan_finetune(request).plan
    assert (plan.training_images, plan.validation_images, plan.num_classes) == (2, 2, 2)


def test_a_share_of_the_classes_is_not_trained(tmp_path):
    root = write_toy_data(tmp_path / "images") / "train"
    settings = {"val_fraction": 0.25, "test_classes": 0.34}
    plan = plan_finetune(make_request(root, tmp_path / "runs", **settings)).plan
    assert (plan.training_images, plan.validation_images, plan.num_classes) == (18, 6, 2)


def test_a_head_is_calibrated_with_the_training_identities(colored_people, tmp_path):
    result = convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
            operations=(HeadSpec(head="gap"),),
            calibrate_with=colored_people,
            output=tmp_path / "net.safetensors",
            workers=0,
        )
    )
    assert load(result.path).recipe.class_names == tuple(sorted(COLORS))
    assert result.calibration.images == 36
