"""`covtool report`, and the page that training leaves behind."""

import json

import pytest
from toy_data import write_toy_data

from covtool.errors import DataError

TINY = ("--from-scratch", "--img-size", 24, "--batch-size", 6, "--workers", 0, "--device", "cpu")


@pytest.fixture
def train(covtool, tmp_path):
    data = write_toy_data(tmp_path / "toy", train=4, val=2)
    return lambda *options: covtool("finetune", "test_resnet", "--data", data, *TINY, *options)


def test_a_run_ends_with_its_page_whose_path_is_printed(train, covtool, tmp_path):
    code, out, err = train("--epochs", 2, "--report", "--report-every", 1)
    assert code == 0, err
    page = tmp_path / "runs/finetune/test_resnet/report/index.html"
    assert f"page: {page.relative_to(tmp_path)}" in out or f"page: {page}" in "".join(
        out.split("\n")
    )
    assert "The run is not complete" not in page.read_text()
    assert "predictions.csv" in page.read_text()
    page.unlink()
    code, out, err = covtool("report", "runs/finetune/test_resnet", "-o", "mine", "--json")
    assert code == 0, err
    assert json.loads(out)["path"] == str(tmp_path / "mine/index.html")
    code, _, err = covtool("report", "runs/finetune/test_resnet", "-o", "mine")
    assert (code, "already exists" in err) == (2, True)
    mine = tmp_path / "mine/index.html"
    assert "predictions.csv" in mine.read_text()
    without = ("report", "runs/finetune/test_resnet", "-o", "mine", "--overwrite", "--no-evaluate")
    code, _, err = covtool(*without)
    assert (code, err) == (0, "")
    assert "predictions.csv" not in mine.read_text()
    code, _, err = covtool(*without, "--device", "cpu")
    assert (code, "nothing is evaluated" in err) == (2, True)


def test_an_evaluation_without_its_model_is_a_note(train, covtool, tmp_path):
    code, _, err = train("--epochs", 1, "--no-report")
    assert code == 0, err
    (tmp_path / "runs/finetune/test_resnet/exported/best.safetensors").unlink()
    code, out, err = covtool("report", "runs/finetune/test_resnet")
    assert (code, "wrote" in out) == (0, True)
    assert "note: The evaluation cannot be shown." in err


def test_a_run_with_many_images_to_validate_on_ends_without_their_evaluation(
    train, tmp_path, monkeypatch
):
    monkeypatch.setattr("covtool_cli.run_reports.MOST_EVALUATED", 5)
    code, _, err = train("--epochs", 1, "--report")
    assert code == 0, err
    page = tmp_path / "runs/finetune/test_resnet/report/index.html"
    assert "predictions.csv" not in page.read_text()


def test_ctrl_c_during_the_evaluation_leaves_the_result_of_a_complete_run(
    train, tmp_path, monkeypatch
):
    def interrupt(run, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("covtool.reporting.run_evaluation.evaluated_run", interrupt)
    code, out, err = train("--epochs", 1, "--report", "--json")
    assert code == 0, err
    assert "the page about the run has no evaluation: it was interrupted" in err
    assert json.loads(out)["epochs"] == 1
    assert (tmp_path / "runs/finetune/test_resnet/report/index.html").is_file()


def test_an_evaluation_that_fails_leaves_the_page_of_the_training(train, tmp_path, monkeypatch):
    def fail(run, **settings):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr("covtool.reporting.run_evaluation.evaluated_run", fail)
    code, out, err = train("--epochs", 1, "--report")
    assert code == 0, err
    assert "the page about the run has no evaluation: not enough memory" in err
    page = tmp_path / "runs/finetune/test_resnet/report/index.html"
    assert "page:" in out
    assert "predictions.csv" not in page.read_text()


def test_why_there_is_no_evaluation_on_the_page_is_a_note(train, tmp_path, monkeypatch):
    def fail(run, **settings):
        raise DataError("The images have gone.", reason="The disk was taken out.")

    monkeypatch.setattr("covtool.reporting.run_evaluation.evaluated_run", fail)
    code, out, err = train("--epochs", 1, "--report")
    assert code == 0, err
    said = " ".join(err.split())
    assert "note: The evaluation cannot be shown. The images have gone." in said
    assert "The disk was taken out." in said
    assert "page:" in out


def test_a_page_that_fails_is_a_warning_and_the_run_ends_well(train, tmp_path, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covtool.reporting.run_page.write_page", full)
    code, out, err = train("--epochs", 2, "--report", "--report-every", 1)
    assert code == 0, err
    assert err.count("no page about the run is written") == 1
    assert "page:" not in out
    assert (tmp_path / "runs/finetune/test_resnet/result.json").is_file()


def test_no_page_is_written_where_none_is_wanted(train, tmp_path):
    code, out, err = train("--epochs", 1, "--no-report")
    assert code == 0, err
    assert "page:" not in out
    assert not (tmp_path / "runs/finetune/test_resnet/report").exists()
    code, _, err = train("--no-report", "--report-every", 1)
    assert (code, "contradict each other" in err) == (2, True)
