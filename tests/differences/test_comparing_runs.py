"""Differences between runs: settings, environment, images, best and last epoch."""

import json
import shutil
from dataclasses import asdict

import pytest
from in_process import covtool
from toy_data import write_toy_data
from training_runs import make_request

from covtool.differences import compare
from covtool.errors import ArgumentError, DataError
from covtool.training import finetune


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = write_toy_data(folder / "toy", train=4, val=4)
    for name, seed in (("a", 0), ("b", 1)):
        settings = {"experiment": name, "seed": seed, "epochs": 2 + seed}
        finetune(make_request(data, folder / "out", **settings))
    return {file.parent.name: file.parent for file in folder.glob("out/**/summary.csv")}


@pytest.fixture
def copies(runs, tmp_path):
    return [str(shutil.copytree(runs["a"], tmp_path / name)) for name in ("one", "two")]


def test_settings_that_differ_and_both_epochs_are_found(runs) -> None:
    found = compare(str(runs["a"]), str(runs["b"]))
    fields = {one.field: (one.before, one.after) for one in found.settings}
    assert fields["seed"] == (0, 1)
    assert fields["epochs"] == (2, 3)
    assert not {"experiment", "output"} & fields.keys()
    assert (found.environment, found.images, found.differs) == ((), True, True)
    best, last = found.epochs
    assert (last.before["epoch"], last.after["epoch"]) == (2, 3)
    for run, values in ((runs["a"], best.before), (runs["b"], best.after)):
        result = json.loads((run / "result.json").read_text())
        assert (values["epoch"], values["eval_top1"]) == (result["best_epoch"], result["best"])


def test_settings_that_are_no_numbers_stay_json(copies, tmp_path) -> None:
    for name, text in (("one", "{x: .nan, y: [.inf]}"), ("two", "{x: .nan, y: [-.inf]}")):
        with (tmp_path / name / "args.yaml").open("a") as file:
            file.write(f"own: {text}\n")
    found = compare(*copies)
    assert [(one.field, one.before, one.after) for one in found.settings] == [
        ("own.y", ["inf"], ["-inf"])
    ]
    json.dumps(asdict(found), default=str, allow_nan=False)


def test_a_copy_of_a_run_does_not_differ(copies) -> None:
    found = compare(*copies)
    assert not found.differs
    assert found.compared == ("settings", "images", "environment", "epochs")


def test_what_makes_the_epochs_of_a_run_doubtful_is_noted(copies, tmp_path) -> None:
    result = tmp_path / "two" / "result.json"
    values = json.loads(result.read_text())
    result.write_text(json.dumps({**values, "is_chance": True, "stopped_early": True}))
    chance, early = (note for note in compare(*copies).notes if str(tmp_path / "two") in note)
    assert chance == (
        f"Even the best epoch of the run {tmp_path / 'two'} is no better than a guess: it is only "
        "the least bad."
    )
    assert "ended early" in early
    assert "no better than a guess" in " ".join(covtool("diff", *copies).stderr.split())
    result.unlink()
    (note,) = (note for note in compare(*copies).notes if str(tmp_path / "two") in note)
    assert "is not complete: its last epoch is the last so far" in note


def test_another_environment_is_a_difference(copies, tmp_path) -> None:
    path = tmp_path / "two" / "env.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "torch": "1.0", "more": True}))
    found = compare(*copies)
    assert {one.field: one.after for one in found.environment} == {"torch": "1.0", "more": True}
    assert found.differs


def test_other_images_are_a_difference(copies, tmp_path) -> None:
    (tmp_path / "two" / "images.csv").write_text("path,label,split\n")
    assert compare(*copies).images is False


def test_what_is_missing_is_a_note(copies, tmp_path) -> None:
    for name in ("env.json", "summary.csv", "images.csv"):
        (tmp_path / "two" / name).unlink()
    found = compare(*copies)
    assert len(found.notes) == 3
    assert any("has no images.csv: images are not compared" in note for note in found.notes)
    assert (found.images, found.environment, found.epochs[1].after) == (None, None, None)
    assert found.differs  # one has epochs


def test_what_neither_has_is_not_called_equal(copies, tmp_path) -> None:
    for run in ("one", "two"):
        (tmp_path / run / "env.json").unlink()
        (tmp_path / run / "images.csv").unlink()
    done = covtool("diff", *copies)
    assert done.stdout.splitlines()[0] == "No differences: settings and epochs are equal."
    assert done.stderr.count("are not compared") == 4
    found = json.loads(covtool("diff", *copies, "--json").stdout)
    assert (found["differs"], found["images"], found["environment"]) == (False, None, None)
    for run in ("one", "two"):
        header, *_ = (tmp_path / run / "summary.csv").read_text().splitlines(keepends=True)
        (tmp_path / run / "summary.csv").write_text(header)
    done = covtool("diff", *copies)
    assert done.stdout == "No differences: settings are equal.\n"
    assert done.stderr.count("no epoch of it was done") == 2


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("env.json", "{", DataError),
        ("env.json", "[1]", DataError),
        ("result.json", "{", DataError),
        ("args.yaml", "- 1", ArgumentError),
        ("summary.csv", "epoch,x\n1\n", DataError),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(copies, tmp_path, name, content, error) -> None:
    (tmp_path / "two" / name).write_text(content)
    with pytest.raises(error, match=name):
        compare(*copies)


def test_a_run_beside_a_file_is_its_best_model(runs) -> None:
    best = runs["a"] / "exported" / "best.safetensors"
    found = compare(str(runs["a"]), str(best))
    assert not found.differs
    assert any("exported/best.safetensors is taken" in note for note in found.notes)
