"""Trackers get a run's curves: a law over the table, and the real packages without a network."""

from pathlib import Path

import pytest
from toy_data import write_toy_data
from training_runs import Recorder, make_request, press_ctrl_c

from covtool.errors import ArgumentError, InterruptedRunError, UnknownVariantError
from covtool.specs import TrainingSpec
from covtool.training import finetune, resume_finetune
from covtool.training.run import trackers
from covtool.training.run.trackers import TRACKERS, refuse_without_trackers

# Of what the packages import themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


def test_a_tracker_that_nothing_is_known_of_is_refused() -> None:
    with pytest.raises(UnknownVariantError, match=r"no tracker named 'wandbb'\. .*'wandb'"):
        refuse_without_trackers(TrainingSpec(log=("wandbb",)))


@pytest.mark.parametrize("name", TRACKERS.names)
def test_it_is_refused_where_it_is_not_installed(
    name: str, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(ArgumentError, match=rf"--log {name} needs.*\n.*covtool\[{name}\]"):
        finetune(make_request(data, tmp_path / "runs", log=(name,)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", TRACKERS.names)
def test_a_tracker_that_fails_is_a_note_and_the_run_goes_on(
    name: str, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    def fail(directory: Path, name: str) -> None:
        raise RuntimeError("no such server")

    row = trackers.TrackerRow(name, "a tracker", "torch", fail)
    monkeypatch.setattr(trackers, "TRACKERS", {name: row})
    recorder = Recorder()
    result = finetune(make_request(data, tmp_path, log=(name,)), observer=recorder)
    assert result.epochs == 2
    notes = [note for note in recorder.notes if "--log" in note]
    assert notes == [f"Nothing more goes to a tracker (--log {name}): no such server."]


@pytest.mark.alone
def test_mlflow_keeps_the_curves_and_a_resumed_run_goes_on_in_the_same_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    cut = Recorder(at_update=2, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, log=("mlflow",)), observer=cut)
    after = Recorder()
    run = resume_finetune(cut.plans[0].directory, observer=after).directory
    client = MlflowClient((run.resolve() / "mlruns").as_uri())
    name = (run / "mlflow.run").read_text().strip()
    assert client.get_run(name).info.status == "FINISHED"
    assert not [note for note in (*cut.notes, *after.notes) if "--log" in note]
    points = [(p.step, p.value) for p in client.get_metric_history(name, "train/loss")]
    assert sorted(points) == [(r.update, r.loss) for r in (*cut.steps, *after.steps)]
    assert len(client.get_metric_history(name, "eval/top1")) == 2


@pytest.mark.alone
def test_wandb_keeps_the_curves_offline_and_a_resumed_run_goes_on_in_the_same_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    cut = Recorder(at_update=2, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, log=("wandb",)), observer=cut)
    run = cut.plans[0].directory
    name = (run / "wandb.run").read_text().strip()
    before = set(run.glob("wandb/offline-run-*"))
    after = Recorder()
    resume_finetune(run, observer=after)
    assert not [note for note in (*cut.notes, *after.notes) if "--log" in note]
    assert (run / "wandb.run").read_text().strip() == name
    # Offline, each start has a folder of its own; `wandb sync` joins those of one name.
    folders = set(run.glob("wandb/offline-run-*"))
    assert len(before) == 1
    assert before < folders
    for folder in folders:
        content = (folder / f"run-{name}.wandb").read_bytes()
        for curve in (b"train/loss", b"train/lr", b"update"):
            assert curve in content
    assert b"eval/top1" in (*(folders - before),)[0].joinpath(f"run-{name}.wandb").read_bytes()
