"""Whatever is in the files of a run, going on with it ends well, or with what is wrong in which."""

import json
import os
import shutil
from pathlib import Path

import pytest
import run_file_mutations as damage
from toy_data import write_toy_data
from training_runs import Recorder, assert_same_weights, cut_short, make_request, rows, weights

from covtool.checkpoints.model_file import load
from covtool.errors import ArgumentError, CheckpointError, CovtoolError, DataError
from covtool.run_files import logs, notes_in
from covtool.training import finetune, resume_finetune

FILES = {
    "args.yaml": (ArgumentError, damage.yaml_of),
    "recipe.yaml": ((ArgumentError, CheckpointError), damage.yaml_of),
    "images.csv": (DataError, damage.csv_of),
    "metrics.jsonl": (DataError, damage.json_lines_of),
    "summary.csv": (DataError, damage.csv_of),
}
"""Of a run that goes on: the error of a damaged one, and damage that knows its format."""
COUNT = 1
LAST = "checkpoints/last.pt"


def killed_to_the_end(killed, beside):
    """The last state of a run that goes on unharmed."""
    run = Path(shutil.copytree(killed, beside.with_name("unharmed")))
    resume_finetune(run)
    return run / LAST


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture(scope="module")
def small(folder):
    """A request of a run of two epochs of two updates, saved after each."""
    data = write_toy_data(folder / "toy", train=4, val=2, side=16)
    return make_request(data, folder / "runs", save_every_steps=1, img_size=16)


@pytest.fixture(scope="module")
def killed(small):
    """A run that was killed in its second epoch; to be left as it is."""
    return cut_short(small, at_update=4)


@pytest.fixture
def run(killed, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def mutations(name, content, seed):
    _, of_format = FILES[name]
    yield from damage.bytes_of(content, seed, COUNT)
    yield from damage.lines_of(content, seed, COUNT)
    yield from of_format(content, seed, 3 * COUNT)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_or_does_no_harm(killed, tmp_path, name):
    errors, _ = FILES[name]
    content = (killed / name).read_bytes()
    for number, mutation in enumerate(mutations(name, content, seed=14)):
        run = Path(shutil.copytree(killed, tmp_path / str(number)))
        (run / name).write_bytes(mutation.content)
        try:
            resume_finetune(run)
        except CovtoolError as problem:
            assert isinstance(problem, errors), (mutation.name, problem)
            assert str(problem).isascii() or str(problem).replace("\n", "").isprintable()
        assert not list(run.rglob(".*.tmp")), mutation.name


@pytest.mark.parametrize("kind", [kind for kind in damage.IN_PLACE if kind != "missing"])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("args.yaml", ArgumentError),
        ("recipe.yaml", ArgumentError),
        ("env.json", ArgumentError),
        ("result.json", ArgumentError),
        (".lock", ArgumentError),
        ("images.csv", DataError),
        ("metrics.jsonl", DataError),
        ("summary.csv", DataError),
        ("notes.jsonl", DataError),
        ("checkpoints/last.pt", CheckpointError),
        ("exported/best.safetensors", CheckpointError),
    ],
)
def test_something_else_in_the_place_of_a_file_is_reported(run, name, error, kind):
    (run / name).touch()
    damage.in_place(run / name, kind)
    with pytest.raises(error, match=f"{name.replace('.', '[.]')} cannot be used"):
        resume_finetune(run)


def test_notes_of_the_part_before_stay_and_damaged_ones_are_named(run):
    (run / "notes.jsonl").write_text('{"note": "one"}\n{"note": 2}\n')
    with pytest.raises(DataError, match=r"notes\.jsonl, line 2, is damaged") as caught:
        resume_finetune(run)
    assert "move it away" in caught.value.hint
    (run / "notes.jsonl").write_text('{"note": "one"}\n{"note": "tw')  # as a kill leaves it
    result = resume_finetune(run)
    assert result.notes[0] == "one"
    assert notes_in(run) == result.notes
    result = resume_finetune(run)  # complete: it says so, and that is nothing to be kept
    assert notes_in(run) == result.notes
    assert not any("is complete" in note for note in result.notes)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_is_reported(run, name):
    (run / name).chmod(0)
    with pytest.raises(CovtoolError, match=name):
        resume_finetune(run)


def test_folders_that_are_missing_are_made_anew(run, killed):
    best = load(run / "exported/best.safetensors").state_dict()
    shutil.rmtree(run / "exported")
    observer = Recorder()
    result = resume_finetune(run, observer=observer)
    assert all(path.exists() for path in result.exported.values())
    if result.best_epoch == 1:
        assert_same_weights(best, load(result.exported["best"]).state_dict())
        assert any("it is written again from best.pt" in note for note in observer.notes)
    assert_same_weights(weights(killed_to_the_end(killed, run)), weights(run / LAST))
    again = Path(shutil.copytree(killed, run.with_name("again")))
    for name in ("checkpoints", "exported"):
        shutil.rmtree(again / name)
    observer = Recorder()
    assert all(p.exists() for p in resume_finetune(again, observer=observer).exported.values())
    assert any("was saved yet: it starts over" in note for note in observer.notes)


def test_logs_that_are_missing_are_begun_anew_and_the_gap_is_reported(run):
    for name in ("metrics.jsonl", "summary.csv"):
        (run / name).unlink()
    observer = Recorder()
    resume_finetune(run, observer=observer)
    assert any("metrics.jsonl lacks 3 of 3 updates" in note for note in observer.notes)
    assert any("summary.csv lacks 1 of 1 epochs" in note for note in observer.notes)
    assert [row["epoch"] for row in rows(run)] == ["1"]


@pytest.mark.parametrize("left", ["", "epoch,train"])
def test_a_summary_that_ends_within_its_first_line_gets_it_anew(run, left):
    (run / "summary.csv").write_text(left)
    resume_finetune(run)
    assert [row["epoch"] for row in rows(run)] == ["1"]
    assert float(rows(run)[0]["eval_top1"]) >= 0


@pytest.mark.parametrize(
    "tail",
    [b'{"epoch": 2, "upd', b"\0" * 5000 + b"\xff\xfe\n", b'{"update": 1, "epoch": 1}\n'],
)
def test_what_comes_after_the_saved_state_is_dropped_whatever_it_is(run, killed, tail):
    log = run / "metrics.jsonl"
    whole = log.read_bytes()
    counted = b"".join(whole.splitlines(keepends=True)[:3])
    log.write_bytes(counted + tail)
    resume_finetune(run)
    assert log.read_bytes().startswith(counted)
    assert [json.loads(line)["update"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_last_line_without_its_end_counts_where_it_is_whole(run):
    log = run / "metrics.jsonl"
    counted = b"".join(log.read_bytes().splitlines(keepends=True)[:3])
    log.write_bytes(counted.rstrip(b"\n"))
    observer = Recorder()
    resume_finetune(run, observer=observer)
    assert log.read_bytes().startswith(counted)
    assert not any("lacks" in note for note in observer.notes)


@pytest.mark.parametrize(
    ("name", "damaged", "message"),
    [
        ("metrics.jsonl", lambda lines: [lines[0], lines[0], *lines[1:]], r"line 2, is damaged"),
        (
            "metrics.jsonl",
            lambda lines: [lines[1], lines[0], *lines[2:]],
            r"Its update is 1, after 2",
        ),
        ("summary.csv", lambda lines: lines[1:], r"summary\.csv, line 1, is damaged"),
        ("summary.csv", lambda lines: [lines[0].replace("eval_top1", "x"), *lines[1:]], "columns"),
    ],
)
def test_lines_that_count_must_be_in_order(run, name, damaged, message):
    lines = (run / name).read_text().splitlines(keepends=True)
    (run / name).write_text("".join(damaged(lines)))
    with pytest.raises(DataError, match=message) as caught:
        resume_finetune(run)
    assert f"{name} back as it was, or move it away" in caught.value.hint


def test_what_the_arguments_do_not_say_is_reported(run):
    arguments = run / "args.yaml"
    kept = [line for line in arguments.read_text().splitlines() if not line.startswith("lr:")]
    arguments.write_text("\n".join(kept))
    observer = Recorder()
    resume_finetune(run, observer=observer)
    assert any(
        "does not set everything; defaults are used for: --lr 0.0005." in n for n in observer.notes
    )


def test_another_recipe_than_the_saved_one_is_refused(run):
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("- 0.5\n", "- 0.4\n"))
    with pytest.raises(ArgumentError, match=r"recipe\.yaml of the run is not the one") as caught:
        resume_finetune(run)
    assert caught.value.reason == "What differs: input."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: 99999999999999999999", "--seed is not valid: it is larger"),
        ("lr: .inf", "--lr is not valid: it is not a finite number"),
        ("nproc: 100000", "'nproc' is not valid"),
        ("opt: [1]", "'opt' is not valid"),
        ("epochs: nan", "'epochs' is not valid"),
        ("? [a]\n: 1", "A key is a list"),
        ("freeze: ['" + "x" * 5000 + "']", "--freeze is not valid: it has 5,000 characters"),
        ("unknown: 1", "'unknown' is not valid"),
    ],
)
def test_the_setting_that_will_not_do_is_named(run, line, message):
    arguments = run / "args.yaml"
    kept = [
        old
        for old in arguments.read_text().splitlines()
        if not old.startswith(line.split(":")[0] + ":")
    ]
    arguments.write_text("\n".join([*kept, line]))
    with pytest.raises(ArgumentError, match=r"args\.yaml cannot be used") as caught:
        resume_finetune(run)
    assert message in caught.value.reason


def test_a_run_that_was_never_saved_starts_again_as_the_same_run(small, killed, tmp_path):
    expected = finetune(small)
    data = Path(shutil.copytree(small.data, tmp_path / "toy"))
    run = cut_short(small.model_copy(update={"data": str(data)}), at_update=1)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    more = data / "train/red/0.png"
    shutil.copy(more, data / "train/red/later.png")  # since then: not an image of this run
    observer = Recorder()
    resume_finetune(run, observer=observer)
    assert any("was saved yet: it starts over" in note for note in observer.notes)
    assert_same_weights(weights(expected.directory / LAST), weights(run / LAST))
    assert rows(expected.directory) == rows(run)


def test_logs_are_read_within_bounds(run, monkeypatch):
    monkeypatch.setattr(logs, "MOST_EPOCHS", 3)
    (run / "summary.csv").write_text("epoch\n" + "".join(f"{n}\n" for n in range(9)))
    with pytest.raises(DataError, match="more than 4 lines"):
        list(logs.epoch_rows(run))
    (run / "metrics.jsonl").write_text('{"update": 1, "epoch": 1, "x": "' + "y" * 70_000 + '"}\n')
    with pytest.raises(DataError, match="Line 1 has more than 65,536 bytes"):
        list(logs.step_rows(run))
