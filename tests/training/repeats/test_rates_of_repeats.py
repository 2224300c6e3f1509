"""`--lr auto` of several runs: a rate for each fold, found without its images, for all seeds."""

import csv
from pathlib import Path

import pytest
import yaml
from toy_data import write_toy_data
from training_runs import Recorder, content, make_request, power_cut

from covtool.data.datasets.folding import fold_data, held_out_part
from covtool.errors import ArgumentError
from covtool.specs import FinetuneRequest
from covtool.training import find_learning_rate, finetune, repeat_finetune, resume_repeats
from covtool.training.start import find_rate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=8, val=4)


def settings_of(run: Path) -> dict:
    return yaml.safe_load((run / "args.yaml").read_text())


def rates(folder: Path, names) -> list:
    found = [settings_of(folder / name) for name in names]
    assert all("held-out loss" in settings["lr_rule"] for settings in found)
    return [settings["lr"] for settings in found]


@pytest.fixture
def judged(monkeypatch):
    """Names of the images of each range test: trained on, judged by."""
    tests, ramp = [], find_rate.run_ramp

    def noting(material, *others):
        parts = material.data.training, material.data.validation
        tests.append([{str(sample.path) for sample in part} for part in parts])
        return ramp(material, *others)

    monkeypatch.setattr(find_rate, "run_ramp", noting)
    return tests


def test_no_image_of_a_fold_chooses_its_rate(data, tmp_path, judged) -> None:
    found = repeat_finetune(make_request(data, tmp_path, folds=2, seeds=2, lr="auto", epochs=1))
    with (found.directory / "folds.csv").open() as file:
        folds = {str(data / row["path"]): int(row["fold"]) for row in csv.DictReader(file)}
    assert len(judged) == 2  # a test for each fold, not for each seed
    for fold, (trained, held_out) in enumerate(judged, start=1):
        assert held_out
        assert not trained & held_out
        assert {folds[path] for path in trained | held_out} == {3 - fold}
        first, second = rates(found.directory, (f"seed-{s}-fold-{fold}" for s in (42, 43)))
        assert first == second
        assert (found.directory / f"seed-42-fold-{fold}/learning_rates.csv").exists()
    assert yaml.safe_load((found.directory / "repeats.yaml").read_text())["lr"] == "auto"


def test_all_seeds_have_the_rate_of_the_first_run(data, tmp_path, judged) -> None:
    found = repeat_finetune(make_request(data, tmp_path, seeds=2, lr="auto", epochs=1))
    assert len(judged) == 1
    first, second = rates(found.directory, ("seed-42", "seed-43"))
    assert first == second
    alone = finetune(make_request(data, tmp_path / "alone", lr="auto", epochs=1))
    assert content(alone.directory) == content(found.directory / "seed-42")
    assert settings_of(alone.directory)["lr"] == first


def test_a_run_of_a_fold_is_what_it_would_be_alone_and_its_settings_make_it_again(
    data, tmp_path
) -> None:
    found = repeat_finetune(make_request(data, tmp_path, folds=2, lr="auto", epochs=1))
    run = found.directory / "fold-2"
    alone = finetune(make_request(data, tmp_path / "alone", folds=2, fold=2, lr="auto", epochs=1))
    assert content(alone.directory) == content(run)
    again = FinetuneRequest.from_arguments(
        {**settings_of(run), "output": str(tmp_path / "again"), "experiment": "again"}
    )
    assert content(finetune(again).directory) == content(run)


@pytest.mark.parametrize("at", ("before the second test", "within the first run"))
def test_the_rates_are_the_same_however_the_whole_was_ended(data, tmp_path, at, monkeypatch):
    settings = {"folds": 2, "lr": "auto", "experiment": "cv"}
    whole = repeat_finetune(make_request(data, tmp_path / "whole", **settings)).directory
    request, observer = make_request(data, tmp_path / "cut", **settings), None
    if at == "within the first run":
        observer = Recorder(at_epoch=1, do=power_cut)
    else:
        ramp, tests = find_rate.run_ramp, []

        def once(*given):
            if tests:
                power_cut()
            tests.append(1)
            return ramp(*given)

        monkeypatch.setattr(find_rate, "run_ramp", once)
    with pytest.raises(RuntimeError, match="power cut"):
        repeat_finetune(request, observer=observer)
    monkeypatch.undo()
    folder = tmp_path / "cut/finetune/cv"
    resume_repeats(folder)
    for name in ("fold-1", "fold-2"):
        assert settings_of(folder / name)["lr"] == settings_of(whole / name)["lr"]
        assert content(folder / name) == content(whole / name)


def test_the_test_alone_is_of_one_run(data, tmp_path) -> None:
    with pytest.raises(ArgumentError, match="--find-lr finds the rate of one run") as refused:
        find_learning_rate(make_request(data, tmp_path, folds=2))
    assert "--lr auto finds the rate of all seeds, and of each fold" in refused.value.hint
    alone = find_learning_rate(make_request(data, tmp_path, folds=2, fold=1))
    run = finetune(make_request(data, tmp_path, folds=2, fold=1, lr="auto", epochs=1))
    assert alone.lr == settings_of(run.directory)["lr"]


def test_classes_keep_an_image_to_train_on(data) -> None:
    folded = fold_data(data, 2)
    layout = folded.part(1)
    samples = layout.samples("train")
    one_class = [sample for sample in samples if sample.label == 0]
    few = [one_class[0], *(sample for sample in samples if sample.label)]
    trained, held_out = held_out_part(layout, few, 2)
    assert one_class[0] in trained
    assert {sample.label for sample in held_out} == {1, 2}
    assert len(trained) + len(held_out) == len(few)
