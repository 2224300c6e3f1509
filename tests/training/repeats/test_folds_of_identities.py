"""A run on a fold of identities is judged by a search among those that it has not trained on."""

import csv

import numpy as np
import pytest
import yaml
from PIL import Image
from training_runs import content, cut_short, make_request, rows

from covtool.errors import ArgumentError
from covtool.training import finetune, repeat_finetune, resume_finetune


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Eight identities with three images each, by two cameras."""
    folder, generator = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    with (folder / "people.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "identity", "camera", "split"))
        for identity in range(8):
            color = generator.integers(0, 200, 3)
            for number in range(3):
                pixels = (color + generator.integers(0, 50, (24, 24, 3))).astype(np.uint8)
                name = f"{identity}-{number}.png"
                Image.fromarray(pixels).save(folder / name)
                writer.writerow((name, f"id{identity}", f"c{number % 2}", "train"))
    return folder / "people.csv"


def listed_in(file):
    with file.open() as lines:
        return list(csv.DictReader(lines))


def require_figures_of(run, rows) -> None:
    """Rows of a fold have the figures of its run, and name what is in the fold."""
    paths = {row["path"]: row["identity"] for row in rows}
    assert {row["found_identity"] for row in rows} <= set(paths.values())
    for row in rows:
        assert row["found"] != row["path"]
        assert paths[row["found"]] == row["found_identity"]
        assert (row["found_identity"] == row["identity"]) == (row["first_rank"] == "1")
    right = [row["first_rank"] == "1" for row in rows]
    assert 100 * sum(right) / len(rows) == pytest.approx(run.figures["best_eval_rank1"])
    precisions = [float(row["average_precision"]) for row in rows]
    assert sum(precisions) / len(rows) == pytest.approx(run.figures["best_eval_mAP"], abs=1e-3)


def test_folds_of_identities_are_searched(people, tmp_path) -> None:
    request = make_request(people, tmp_path, folds=2, epochs=1, experiment="p")
    found = repeat_finetune(request)
    assert found.metric == "rank1"
    of_images = listed_in(found.predictions)
    assert sorted(row["path"] for row in of_images) == sorted(
        row["path"] for row in listed_in(found.directory / "folds.csv")
    )
    assert {"best_eval_rank1", "last_eval_mAP"} <= found.figures.keys()
    identities = []
    for run in found.runs:
        listed = listed_in(run.run / "images.csv")
        trained, searched = (
            {row["identity"] for row in listed if row["split"] == split}
            for split in ("train", "test")
        )
        assert len(trained) == len(searched) == 4
        assert not trained & searched
        identities.append(searched)
        require_figures_of(run, [row for row in of_images if int(row["fold"]) == run.fold])
    assert not identities[0] & identities[1]


def test_such_a_run_is_resumed_exactly(people, tmp_path) -> None:
    settings = {"folds": 2, "fold": 2, "eval_metric": "mAP", "cameras": False}
    whole = finetune(make_request(people, tmp_path / "whole", **settings)).directory
    run = cut_short(make_request(people, tmp_path / "cut", **settings), at_epoch=1)
    resume_finetune(run)
    assert content(run) == content(whole)
    assert {"eval_rank1", "eval_mAP"} <= rows(run)[0].keys()


@pytest.mark.parametrize("metric", ("top5", "loss"))
def test_metrics_of_a_classifier_say_nothing_there(people, tmp_path, metric) -> None:
    with pytest.raises(ArgumentError, match=f"--eval-metric {metric} says nothing here"):
        finetune(make_request(people, tmp_path, folds=2, fold=1, eval_metric=metric))


def test_the_rate_of_a_fold_is_found_on_its_training_images(people, tmp_path) -> None:
    settings = {"folds": 2, "fold": 1, "lr": "auto"}
    run = finetune(make_request(people, tmp_path, **settings)).directory
    saved = yaml.safe_load((run / "args.yaml").read_text())
    assert 0 < saved["lr"] < 10
    assert "held-out loss" in saved["lr_rule"]
