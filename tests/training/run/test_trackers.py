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


def test_wandb_keeps_the_curves_offline(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recorder = Recorder()
    run = finetune(make_request(data, tmp_path, log=("wandb",)), observer=recorder).directory
    assert not [note for note in recorder.notes if "--log" in note]
    name = (run / "wandb.run").read_text().strip()
    (file,) = run.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb")
    content = file.read_bytes()
    for curve in (b"train/loss", b"train/lr", b"eval/top1", b"update"):
        assert curve in content
