"""Final figures of two groups of runs: pairs, intervals, and what is said about them."""

import json
from pathlib import Path

import pytest
import yaml
from in_process import covtool
from scipy import stats

from covtool.differences import compare, compare_repeats
from covtool.errors import ArgumentError, CheckpointError, DataError

FIRST, SECOND = (70.0, 72.0, 71.0), (69.0, 70.0, 70.5)


def write_run(folder, top1, *, seed, fold=None, lr=0.1, images="a", metric="top1", **ends):
    """What a complete run leaves, without its models."""
    folder.mkdir(parents=True)
    settings = {"seed": seed, "fold": fold, "folds": fold and 5, "lr": lr, "experiment": "x"}
    (folder / "args.yaml").write_text(yaml.safe_dump(settings))
    (folder / "images.csv").write_text(images)
    rows = [f"0,1.5,{top1}", f"1,1.25,{top1 - 1}"]
    (folder / "summary.csv").write_text("\n".join(["epoch,eval_loss,eval_top1", *rows, ""]))
    result = {"metric": metric, "best_epoch": 1, "epochs": 2, "seconds": 3.0, **ends}
    (folder / "result.json").write_text(json.dumps(result))
    return str(folder)


def write_several(folder, values, **settings):
    """A folder of several runs, in the order of neither seeds nor names."""
    for seed, value in reversed(list(enumerate(values))):
        write_run(folder / f"seed-{seed}", value, seed=seed, **settings)
    (folder / "repeats.yaml").write_text("seeds: 3\n")
    return str(folder)


def of(found, name):
    return next(one for one in found.figures if one.figure == name)


def test_runs_of_the_same_seeds_are_pairs(tmp_path) -> None:
    one = write_several(tmp_path / "one", FIRST, lr=0.2)
    other = write_several(tmp_path / "other", SECOND)
    found = compare_repeats([one], [other])
    assert found.paired
    figure = of(found, "best_eval_top1")
    expected = stats.ttest_rel(FIRST, SECOND).confidence_interval(0.95)
    assert figure.interval.bounds == pytest.approx((expected.low, expected.high))
    assert figure.runs.mean == pytest.approx(71.0)
    assert of(found, "last_eval_top1").against.mean == pytest.approx(sum(SECOND) / 3 - 1)
    assert [(one.field, one.before, one.after) for one in found.settings] == [("lr", 0.2, 0.1)]
    assert found.notes == ()
    assert found.differs


def test_the_order_and_the_way_of_naming_do_not_matter(tmp_path) -> None:
    one, other = write_several(tmp_path / "one", FIRST), write_several(tmp_path / "two", SECOND)
    named = sorted(map(str, Path(one).glob("seed-*")), reverse=True)
    assert compare_repeats(named, [other]).figures == compare_repeats([one], [other]).figures


def test_other_seeds_are_compared_as_groups_and_it_is_said(tmp_path) -> None:
    one, other = write_several(tmp_path / "a", FIRST), write_several(tmp_path / "b", SECOND[:2])
    found = compare_repeats([one], [other])
    assert not found.paired
    assert "other seeds or folds" in found.notes[0]
    welch = stats.ttest_ind(FIRST, SECOND[:2], equal_var=False).confidence_interval(0.95)
    low, high = of(found, "best_eval_top1").interval.bounds
    assert low <= welch.low < welch.high <= high


def test_one_run_on_each_side_has_no_interval_and_says_so(tmp_path) -> None:
    runs = [write_run(tmp_path / name, value, seed=3) for name, value in (("a", 70.0), ("b", 71))]
    found = compare_repeats(runs[:1], runs[1:])
    assert of(found, "best_eval_top1").interval.half_width is None
    assert any("no intervals" in note for note in found.notes)
    done = covtool("diff", runs[0], "--against", runs[1])
    assert done.returncode == 0, done.stderr
    assert "no intervals" in done.stderr


def test_what_makes_intervals_doubtful_is_said(tmp_path) -> None:
    one = [write_run(tmp_path / f"a{n}", 70.0 + n, seed=0, fold=n) for n in (1, 2)]
    other = [
        write_run(tmp_path / f"b{n}", 70.0, seed=0, fold=n, images="b", metric="loss")
        for n in (1, 2)
    ]
    found = compare_repeats(one, other)
    assert found.paired
    for part in ("same images", "share most of their training images", "top-1 and validation loss"):
        assert any(part in note for note in found.notes), part


def test_pairs_without_a_list_of_images_are_counted(tmp_path) -> None:
    one = write_several(tmp_path / "one", FIRST)
    other = write_several(tmp_path / "other", SECOND)
    (tmp_path / "one" / "seed-1" / "images.csv").unlink()
    found = compare_repeats([one], [other])
    assert found.paired
    (note,) = found.notes
    assert note.startswith("In 1 of 3 pairs a run has no images.csv")


def test_runs_that_are_guesses_or_ended_early_are_marked(tmp_path) -> None:
    one = write_several(tmp_path / "one", FIRST, is_chance=False, stopped_early=False)
    other = write_several(tmp_path / "other", SECOND[:2], is_chance=False, stopped_early=True)
    guess = write_run(tmp_path / "other/seed-2", SECOND[2], seed=2, is_chance=True)
    found = compare_repeats([one], [other])
    assert found.guesses == (Path(guess),)
    assert [run.name for run in found.stopped_early] == ["seed-0", "seed-1"]
    guesses, early = found.notes
    assert guesses.startswith(f"Even the best epoch of 1 of 3 runs ({guess}) is no better than")
    assert early.startswith("2 of 3 runs (") and "ended early" in early
    done = covtool("diff", one, "--against", other)
    assert "no better than a guess" in done.stderr
    of_best = [line for line in done.stdout.splitlines() if " best " in line]
    assert of_best and all(line.count(" *") == 1 for line in of_best)
    assert "* 1 of 6 runs: no better than a guess" in done.stdout
    assert "+ 2 of 6 runs: ended early" in done.stdout
    (Path(guess) / "result.json").write_text(
        '{"best_epoch": 1, "epochs": 2, "seconds": 1, "metric": "top1", "is_chance": "yes"}'
    )
    with pytest.raises(DataError, match=r"result\.json") as raised:
        compare_repeats([one], [other])
    assert "is_chance" in raised.value.reason


def test_a_run_without_a_seed_of_its_own_is_no_pair(tmp_path) -> None:
    runs = [write_run(tmp_path / name, 70.0, seed=1) for name in ("a", "b", "c", "d")]
    found = compare_repeats(runs[:2], runs[2:])
    assert "same seed and fold" in found.notes[0]
    assert not found.differs


def test_what_cannot_be_compared_is_refused(tmp_path) -> None:
    run = write_run(tmp_path / "a", 70.0, seed=1)
    other = write_run(tmp_path / "b", 70.0, seed=1)
    with pytest.raises(ArgumentError, match="named twice"):
        compare_repeats([run], [run])
    with pytest.raises(ArgumentError, match="no_run is not the folder of a run"):
        compare_repeats([run], [str(tmp_path / "no_run")])
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="file is not the folder of a run") as raised:
        compare_repeats([run], [str(tmp_path / "file")])
    assert raised.value.reason == "It is a file."
    (Path(other) / "result.json").unlink()
    with pytest.raises(DataError, match="not complete"):
        compare_repeats([run], [other])
    several = write_several(tmp_path / "several", FIRST)
    with pytest.raises(CheckpointError, match="several runs"):
        compare(several, run)


def test_the_command_shows_the_table_and_exits_as_asked(tmp_path) -> None:
    one, other = write_several(tmp_path / "a", FIRST), write_several(tmp_path / "b", SECOND)
    done = covtool("diff", one, "--against", other, "--exit-code")
    assert done.returncode == 1
    assert "3 pairs of runs" in done.stdout
    assert "95% t interval" in done.stdout
    assert "best top-1 (%)" in done.stdout
    found = json.loads(covtool("diff", one, "--against", other, "--json").stdout)
    assert found["paired"] is True
    assert covtool("diff", one).returncode == 2
    assert covtool("diff", one, other, "--against", one, "--all").returncode == 2
