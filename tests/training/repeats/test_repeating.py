"""Several runs in a folder: each is what it would be alone, however the whole was interrupted."""

import csv
import json
import math
import shutil

import pytest
import yaml
from toy_data import write_toy_data
from training_runs import Recorder, content, make_request, power_cut, press_ctrl_c

from covtool.auditing import AuditRequest, audit
from covtool.checkpoints.run_models import find_in_run
from covtool.data.datasets import duplicates
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    InterruptedRunError,
    NonFiniteError,
)
from covtool.run_files import final_figures, notes_in
from covtool.specs import FinetuneRequest
from covtool.specs.auditing import AuditSpec
from covtool.training import finetune, repeat_finetune, resume_finetune, resume_repeats
from covtool.training.repeats.plan import plan_repeats

NAMES = ("fold-1", "fold-2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Two folds that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole")
    return repeat_finetune(make_request(data, output, folds=2, experiment="cv"))


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def same_runs(first, second):
    for name in NAMES:
        assert content(first / name) == content(second / name)
        for file in ("predictions.csv", "images.csv"):
            assert (first / name / file).read_bytes() == (second / name / file).read_bytes()
    for file in ("predictions.csv", "summary.csv", "folds.csv"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_the_folder_has_the_runs_their_figures_and_the_folds(whole) -> None:
    folder = whole.directory
    assert [run.run.name for run in whole.runs] == list(NAMES)
    rows = read_csv(folder / "summary.csv")
    assert [row["run"] for row in rows] == [*NAMES, "mean", "std"]
    result = json.loads((folder / "result.json").read_text())
    for name, spread in whole.figures.items():
        values = [float(row[name]) for row in rows[:2]]
        assert spread.mean == pytest.approx(sum(values) / 2)
        assert spread.deviation == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert float(rows[2][name]) == spread.mean == result["figures"][name]["mean"]
    assert len(read_csv(folder / "folds.csv")) == 12
    for run in whole.runs:
        child = json.loads((run.run / "result.json").read_text())
        assert run.figures["best_eval_top1"] == child["best"]
        assert run.figures["last_eval_top1"] == child["last"]


def test_each_image_is_predicted_once_by_a_model_that_has_not_seen_it(whole) -> None:
    rows = read_csv(whole.predictions)
    folds = {row["path"]: row for row in read_csv(whole.directory / "folds.csv")}
    assert sorted(row["path"] for row in rows) == sorted(folds)
    for row in rows:
        assert (row["label"], row["fold"]) == (
            folds[row["path"]]["label"],
            folds[row["path"]]["fold"],
        )
        assert row["seed"] == "42"
        assert 0 < float(row["probability"]) <= 1
    for run in whole.runs:
        own = [row for row in rows if int(row["fold"]) == run.fold]
        right = sum(row["label"] == row["predicted"] for row in own)
        assert 100 * right / len(own) == pytest.approx(run.figures["best_eval_top1"])
        trained = {r["path"] for r in read_csv(run.run / "images.csv") if r["split"] == "train"}
        assert trained.isdisjoint(row["path"] for row in own)


def test_an_audit_takes_the_predictions_as_they_were_written(whole, data) -> None:
    spec = AuditSpec(near=False, suspect_margin=0)
    asked = AuditRequest(data=data, predictions=whole.predictions, spec=spec)
    done = audit(asked)
    wrong = {
        f"train/{row['path']}" if not row["path"].startswith("train") else row["path"]: row
        for row in read_csv(whole.predictions)
        if row["predicted"] != row["label"]
    }
    assert {one.path for one in done.suspects} == set(wrong)
    for one in done.suspects:
        row = wrong[one.path]
        assert one.suggested == row["predicted"]
        own = math.exp(-float(row["loss"]))
        assert one.margin == pytest.approx(float(row["probability"]) - own, abs=1e-6)
    (note,) = (text for text in done.notes if "have no prediction" in text)
    assert note.startswith("6 images")  # those to validate on are in no fold
    row = next(iter(wrong.values()), None)
    assert row is not None  # else nothing was compared above


def test_its_own_arguments_make_the_same_run_alone(whole, tmp_path) -> None:
    run = whole.directory / "fold-2"
    saved = yaml.safe_load((run / "args.yaml").read_text())
    request = FinetuneRequest.from_arguments({**saved, "output": str(tmp_path)})
    alone = finetune(request).directory
    assert alone.name == "cv-fold-2"
    assert content(alone) == content(run)
    assert (alone / "images.csv").read_bytes() == (run / "images.csv").read_bytes()


def test_runs_that_are_cut_short_and_resumed_are_the_same(whole, data, tmp_path) -> None:
    request = make_request(data, tmp_path, folds=2, experiment="cv", save_every_steps=1)
    folder = tmp_path / "finetune/cv"

    class SecondRun(Recorder):
        """Cuts the power in the second run, at its first update."""

        def on_step(self, record):
            if len(self.plans) == 2:
                power_cut()

    with pytest.raises(RuntimeError, match="power cut"):
        repeat_finetune(request, observer=SecondRun())
    assert not (folder / "result.json").exists()
    before = (folder / "fold-1/result.json").stat().st_mtime_ns
    with pytest.raises(InterruptedRunError) as stopped:
        resume_repeats(folder, observer=Recorder(at_epoch=1, do=press_ctrl_c))
    assert stopped.value.signal_number == 2
    assert f"--resume {folder}" in stopped.value.hint
    assert "fold-2" not in stopped.value.hint
    resume_repeats(folder)
    assert (folder / "fold-1/result.json").stat().st_mtime_ns == before
    same_runs(folder, whole.directory)


def test_new_images_are_not_used_by_a_fold_that_is_yet_to_begin(whole, data, tmp_path) -> None:
    own = shutil.copytree(data, tmp_path / "before" / data.name)
    request = make_request(own, tmp_path, folds=2, experiment="cv")
    with pytest.raises(RuntimeError, match="power cut"):
        repeat_finetune(request, observer=Recorder(at_epoch=2, do=power_cut))
    shutil.copy(own / "train/red/0.png", own / "train/red/new.png")
    moved = own.replace(tmp_path / data.name)
    resume_repeats(tmp_path / "finetune/cv", changes={"data": str(moved)})
    same_runs(tmp_path / "finetune/cv", whole.directory)


def test_a_folder_that_was_left_before_its_run_began_is_used(whole, data, tmp_path) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "cv")
    shutil.rmtree(folder / "fold-2")
    (folder / "fold-2").mkdir()
    resume_repeats(folder)
    same_runs(folder, whole.directory)


def test_what_is_complete_stays_as_it_is(whole) -> None:
    observer = Recorder()
    again = resume_repeats(whole.directory, observer=observer)
    assert observer.plans == []
    assert again == whole
    assert tuple(json.loads((whole.directory / "result.json").read_text())["notes"]) == whole.notes


def test_what_the_runs_have_noted_is_kept_with_their_names(data, tmp_path) -> None:
    own = shutil.copytree(data, tmp_path / data.name)
    (own / "train/red/0.png").write_bytes(b"no image")
    request = make_request(own, tmp_path, seeds=2, epochs=1, experiment="n", on_bad_image="skip")
    observer = Recorder()
    result = repeat_finetune(request, observer=observer)
    assert len(set(result.notes)) == len(result.notes)
    assert [note for note in observer.notes if note.startswith("Run 1 of 2")]
    assert not any(note.startswith("Run ") for note in result.notes)
    assert sum("0.png" in note for note in result.notes) == 1  # what both have in common
    for name in ("seed-42", "seed-43"):
        assert any(note.startswith(f"{name}: ") for note in result.notes)
        own_notes = json.loads((result.directory / name / "result.json").read_text())["notes"]
        assert any("0.png" in note for note in own_notes)
    assert resume_repeats(result.directory) == result
    shutil.copy(own / "train/red/1.png", own / "train/red/0.png")
    more = resume_repeats(result.directory, changes={"seeds": 3})
    assert more.notes[: len(result.notes)] == result.notes
    assert "--seeds changes from 2 to 3." in more.notes
    assert more.notes[-1].startswith("The runs were not all started with the same images")


@pytest.mark.parametrize("kind", ["seeds", "folds"])
def test_each_run_keeps_what_was_noted_of_their_data_once(
    data, tmp_path, monkeypatch, kind
) -> None:
    own = shutil.copytree(data, tmp_path / data.name)
    for copy in ("train/red/1.png", "train/red/2.png", "val/red/0.png"):
        shutil.copy(own / "train/red/0.png", own / copy)
    looked, look = [], duplicates.equal_files

    def counted(*given, **named):
        looked.append(given)
        return look(*given, **named)

    monkeypatch.setattr(duplicates, "equal_files", counted)
    request = make_request(own, tmp_path, **{kind: 2}, epochs=1, experiment="e")
    observer = Recorder(at_epoch=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        repeat_finetune(request, observer=observer)
    assert len(looked) == 1
    result = resume_repeats(tmp_path / "finetune/e")
    assert len(looked) == 2
    (note,) = (text for text in result.notes if "byte for byte" in text)
    assert observer.notes.count(note) == 1
    for run in result.runs:
        assert note in json.loads((run.run / "result.json").read_text())["notes"]


def test_more_epochs_and_more_seeds_are_added(data, tmp_path) -> None:
    first = repeat_finetune(make_request(data, tmp_path, seeds=2, seed=7, epochs=1, experiment="s"))
    assert [(run.run.name, run.seed, run.fold) for run in first.runs] == [
        ("seed-7", 7, None),
        ("seed-8", 8, None),
    ]
    assert first.predictions is None
    observer = Recorder()
    more = resume_repeats(first.directory, changes={"seeds": 3}, observer=observer)
    assert [plan.directory.name for plan in observer.plans] == ["seed-9"]
    assert more.runs[:2] == first.runs
    observer = Recorder()
    longer = resume_repeats(first.directory, changes={"epochs": 2}, observer=observer)
    assert {run.epochs for run in longer.runs} == {2}
    assert len(observer.plans) == 3
    for changes in ({"seeds": 2}, {"seed": 1}, {"folds": 2}):
        with pytest.raises(ArgumentError):
            resume_repeats(first.directory, changes=changes)


def test_a_run_that_diverges_is_named_and_the_others_are_trained(data, tmp_path) -> None:
    request = make_request(data, tmp_path, seeds=2, epochs=1, experiment="d", batch_size=12)

    broken = request.model_copy(
        update={"training": request.training.model_copy(update={"lr": 1e30, "warmup_epochs": 0})}
    )
    with pytest.raises(NonFiniteError, match=r"2 of 2 runs .* diverged: seed-42, seed-43") as found:
        repeat_finetune(broken)
    assert "--on-nonfinite skip" in found.value.hint
    folder = tmp_path / "finetune/d"
    assert (folder / "seed-43/args.yaml").exists()
    assert any(note.startswith("seed-42 has diverged: ") for note in notes_in(folder))
    assert not (folder / "result.json").exists()


def test_nothing_is_left_of_runs_that_cannot_begin(data, tmp_path) -> None:
    with pytest.raises(CheckpointError):
        repeat_finetune(make_request(data, tmp_path, seeds=2, model="no_such_model"))
    with pytest.raises(DataError):
        repeat_finetune(make_request(data, tmp_path, folds=5))
    assert not list(tmp_path.glob("finetune/*"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"fold": 1}, "--fold has no effect without"),
        ({"folds": 2, "fold": 3}, "no fold 3 of 2"),
        ({"folds": 2, "val_fraction": 0.5}, "--val-fraction 0.5 has no effect"),
        ({"metric": "euclidean"}, "--metric would have no effect"),
        ({"folds": 2, "cameras": False}, "not for retrieval"),
        ({"folds": 2, "eval_metric": "mAP"}, "--eval-metric mAP is that of a search"),
    ],
)
def test_what_has_no_effect_is_refused(data, tmp_path, settings, reason) -> None:
    request = make_request(data, tmp_path, **settings)
    start = repeat_finetune if request.repeats.is_several else finetune
    with pytest.raises(ArgumentError, match=reason):
        start(request)


def test_one_of_several_is_asked_for_where_one_is_needed(whole, data, tmp_path) -> None:
    with pytest.raises(ArgumentError, match="several runs"):
        finetune(make_request(data, tmp_path, seeds=2))
    with pytest.raises(ArgumentError, match="several runs"):
        resume_finetune(whole.directory)
    for name in (whole.directory, f"{whole.directory}@last"):
        with pytest.raises(CheckpointError, match="several runs") as found:
            find_in_run(name)
        assert all(str(whole.directory / run) in found.value.reason for run in NAMES)
    with pytest.raises(ArgumentError, match="not a folder of several runs"):
        resume_repeats(whole.directory / "fold-1")


def test_every_seed_meets_every_fold(data, tmp_path) -> None:
    found = plan_repeats(make_request(data, tmp_path, seeds=2, folds=2, seed=0))
    assert [one.name for one in found] == [
        *("seed-0-fold-1", "seed-0-fold-2"),
        *("seed-1-fold-1", "seed-1-fold-2"),
    ]
    found = plan_repeats(make_request(data, tmp_path, seeds=2, folds=3, fold=2))
    assert [(one.seed, one.fold) for one in found] == [(42, 2), (43, 2)]


def test_a_run_that_is_not_complete_has_no_final_figures(whole, tmp_path) -> None:
    run = shutil.copytree(whole.directory / "fold-1", tmp_path / "run")
    (run / "result.json").unlink()
    with pytest.raises(DataError, match="not complete"):
        final_figures(run)
    (run / "result.json").write_text(
        '{"best_epoch": 9, "epochs": 2, "seconds": 1, "metric": "top1"}'
    )
    with pytest.raises(DataError, match=r"summary\.csv") as found:
        final_figures(run)
    assert "epoch 9" in found.value.reason
    (run / "result.json").write_text("[]")
    with pytest.raises(DataError, match=r"result\.json"):
        final_figures(run)
