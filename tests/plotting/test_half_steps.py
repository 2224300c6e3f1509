"""The half-steps of a run of `covtool svdnet-rri`: those that are over, as the file has them."""

import random
from pathlib import Path

import pytest
from svdnet_runs import COLUMNS, phases_of, rows_of, write_rows, write_svdnet_run

from covtool.errors import DataError
from covtool.plotting.half_steps import HalfStep, phase_order, read_half_steps


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_svdnet_run(tmp_path / "run")


def written(path: Path, rows: list[dict]) -> Path:
    path.mkdir(exist_ok=True)
    write_rows(path, rows)
    return path


@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("iterations", [0, 1, 7])
def test_half_steps_are_the_last_rows_of_the_phases(
    tmp_path: Path, iterations: int, epochs: int, base: bool
) -> None:
    phases = phases_of(iterations, base=base)
    rows = rows_of(phases, epochs=epochs)
    steps = read_half_steps(written(tmp_path / "run", rows))
    assert [step.phase for step in steps] == phases
    assert [step.epochs for step in steps] == [epochs * i for i in range(len(phases))]
    for step, row in zip(steps, rows[::epochs], strict=True):
        assert step == HalfStep(
            phase=row["phase"],
            epochs=row["epoch"] + 1,
            train_loss=None if row["phase"] == "start" else row["train_loss"],
            correlation=row["correlation"],
            smallest_eigenvalue_ratio=row["smallest_eigenvalue_ratio"],
            rank_1=row["eval_rank1"],
            rank_5=row["eval_rank5"],
            mean_average_precision=row["eval_mAP"],
            mean_inverse_penalty=row["eval_mINP"],
        )


@pytest.mark.parametrize("kept", range(1, 12))
def test_a_run_that_ends_anywhere_has_the_half_steps_that_are_over(
    tmp_path: Path, kept: int
) -> None:
    rows = rows_of(phases_of(2), epochs=3)[:kept]
    steps = read_half_steps(written(tmp_path / "run", rows))
    assert len(steps) == 1 + (kept - 1) // 3


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_half_written_last_line_is_no_half_step(run: Path, cut: int) -> None:
    path, before = run / "summary.csv", read_half_steps(run)
    path.write_text(path.read_text()[:-cut])
    assert read_half_steps(run) == before[:-1]


def test_a_loss_that_is_not_finite_and_figures_that_are_not_there_are_none(tmp_path: Path) -> None:
    rows = rows_of(phases_of(1))
    rows[-1] |= {"train_loss": float("nan"), "eval_rank5": "", "eval_mINP": ""}
    last = read_half_steps(written(tmp_path / "run", rows))[-1]
    assert (last.train_loss, last.rank_5, last.mean_inverse_penalty) == (None, None, None)


def test_phases_are_ordered_as_they_follow_each_other() -> None:
    phases = phases_of(12)
    shuffled = random.Random(0).sample(phases, len(phases))
    assert sorted(shuffled, key=phase_order) == phases


@pytest.mark.parametrize("phase", ["", "restraint", "restraint 0", "start 1", "Base", "rest 1"])
def test_other_names_are_no_phases(phase: str) -> None:
    with pytest.raises(ValueError, match="There is no phase"):
        phase_order(phase)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": "restraint"}, r"line 5, is damaged.\n'restraint' is not a phase"),
        ({"phase": ""}, "None is not a phase"),
        ({"phase": "start"}, "line 5, is damaged.\nIts phase does not follow 'relaxation 1'"),
        ({"correlation": ""}, "line 5, is damaged.\ncorrelation is None, which is not a number"),
        ({"correlation": "nan"}, "correlation is nan, which is not a number"),
        ({"smallest_eigenvalue_ratio": "?"}, "smallest_eigenvalue_ratio is '\\?'"),
        ({"eval_rank1": ""}, "eval_rank1 is None"),
        ({"eval_mAP": "high"}, "eval_mAP is 'high'"),
        ({"train_loss": "low"}, "train_loss is 'low'"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, change: dict, message: str) -> None:
    rows = rows_of(phases_of(2, base=False), epochs=1)
    rows[3] |= change
    with pytest.raises(DataError, match=message):
        read_half_steps(written(tmp_path / "run", rows))


def test_what_is_no_such_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the folder of a run\.\nThere is no such folder"):
        read_half_steps(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"not the folder of a run\.\nIt is a file"):
        read_half_steps(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"It has no summary\.csv.\nGive the folder that holds"):
        read_half_steps(tmp_path / "empty")


def test_a_run_of_finetune_is_told_and_what_draws_it(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("epoch,eval_top1\n0,50\n")
    with pytest.raises(DataError, match=r"no column 'phase'(.|\n)*covtool plot run"):
        read_half_steps(tmp_path)


@pytest.mark.parametrize("text", [None, ",".join(COLUMNS)[:20], ",".join(COLUMNS) + "\n"])
def test_a_run_without_a_half_step_says_so(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "args.yaml").touch()
    if text is not None:
        (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(DataError, match="has no half-step yet"):
        read_half_steps(tmp_path)
    write_rows(tmp_path, rows_of(phases_of(1))[1:2])
    with pytest.raises(DataError, match="No phase of it is over"):
        read_half_steps(tmp_path)
