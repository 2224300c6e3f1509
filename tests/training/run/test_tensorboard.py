"""Curves for TensorBoard, as its writer gets them and as it reads them itself."""

import warnings
from pathlib import Path

import pytest
from toy_data import write_toy_data
from training_runs import Recorder, make_request, press_ctrl_c

from covtool.errors import ArgumentError, InterruptedRunError
from covtool.training import finetune, plan_finetune, resume_finetune
from covtool.training.run import tensorboard


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what tensorboard imports itself
    from torch.utils.tensorboard import SummaryWriter


class Writer(SummaryWriter):
    """Keeps what it is asked to write as well."""

    made: list["Writer"]

    def __init__(self, log_dir: str, *, purge_step: int | None) -> None:
        super().__init__(log_dir, purge_step=purge_step)
        self.given_purge_step = purge_step
        self.curves, self.flushed, self.closed = {}, 0, False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert not self.closed
        super().add_scalar(name, value, step)
        self.curves.setdefault(name, []).append((step, value))

    def flush(self) -> None:
        super().flush()
        self.flushed += 1

    def close(self) -> None:
        super().close()
        self.closed = True


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    Writer.made = []
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
    return Writer.made


def test_every_update_and_epoch_is_written_over_the_updates(
    writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    result = finetune(make_request(data, tmp_path, tensorboard=True), observer=recorder)
    (writer,) = writers
    assert Path(writer.log_dir) == result.directory / "tensorboard"
    assert writer.given_purge_step is None
    assert writer.curves["train/loss"] == [(r.update, r.loss) for r in recorder.steps]
    assert writer.curves["train/lr"] == [(r.update, r.lr) for r in recorder.steps]
    assert writer.curves["train/grad_norm"] == [(r.update, r.grad_norm) for r in recorder.steps]
    first, second = recorder.epochs
    assert writer.curves["eval/top1"] == [(2, first.top_1), (4, second.top_1)]
    assert writer.curves["eval/loss"] == [(2, first.eval_loss), (4, second.eval_loss)]
    assert "eval/top5" not in writer.curves  # three classes
    assert (writer.flushed, writer.closed) == (2, True)


def test_a_full_disk_ends_the_curves_and_not_the_run(
    writers: list[Writer], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self, name: str, value: float, step: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "add_scalar", full)
    recorder = Recorder()
    result = finetune(make_request(data, tmp_path, tensorboard=True), observer=recorder)
    notes = [note for note in recorder.notes if "TensorBoard" in note]
    assert notes == [
        "The curves for TensorBoard end here: they cannot be written. No space left on device."
    ]
    assert result.epochs == 2


def test_the_terms_of_a_sum_of_losses_have_a_curve_each(
    writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    options = {"loss": "ce+triplet", "sampler": "pk", "num_instances": 2}
    finetune(make_request(data, tmp_path, tensorboard=True, epochs=1, **options))
    assert {"train/loss", "train/ce", "train/triplet"} < writers[0].curves.keys()


@pytest.mark.parametrize("gc", [False, True])
def test_the_centralized_norm_has_a_curve_where_gradients_are_centralized(
    gc: bool, writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    request = make_request(data, tmp_path, tensorboard=True, epochs=1, gc=gc)
    finetune(request, observer=recorder)
    curve = writers[0].curves.get("train/grad_norm_centralized", [])
    assert curve == [(r.update, r.grad_norm_centralized) for r in recorder.steps if gc]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """Curves of a run that nothing interrupts."""
    Writer.made = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
        finetune(make_request(data, tmp_path_factory.mktemp("whole"), tensorboard=True))
    return Writer.made[0]


@pytest.mark.parametrize("update", [1, 2, 3])
def test_a_resumed_run_goes_on_and_has_what_came_after_its_state_forgotten(
    update: int, whole: Writer, writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    cut = Recorder(at_update=update, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, tensorboard=True), observer=cut)
    resume_finetune(cut.plans[0].directory)
    before, after = writers
    assert before.closed
    assert after.closed
    assert after.log_dir == before.log_dir != whole.log_dir
    assert after.given_purge_step == update + 1
    for name in ("train/loss", "eval/loss"):
        kept = [(s, v) for s, v in before.curves.get(name, []) if s < after.given_purge_step]
        assert kept + after.curves[name] == whole.curves[name]


def test_nothing_is_written_unless_it_is_asked_for(
    writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    finetune(make_request(data, tmp_path, epochs=1))
    plan_finetune(make_request(data, tmp_path, tensorboard=True))
    assert writers == []


def test_it_is_refused_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"--tensorboard needs.*\n.*covtool\[tensorboard\]"):
        finetune(make_request(data, tmp_path / "runs", tensorboard=True))
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what it imports itself
def test_tensorboard_reads_what_is_written(data: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    whole, cut = Recorder(), Recorder(at_update=3, do=press_ctrl_c)
    finetune(make_request(data, tmp_path, tensorboard=True), observer=whole)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, tensorboard=True), observer=cut)
    result = resume_finetune(cut.plans[0].directory)
    events = EventAccumulator(str(result.directory / "tensorboard"))
    events.Reload()
    steps = [(e.step, pytest.approx(e.value)) for e in events.Scalars("train/loss")]
    assert steps == [(r.update, r.loss) for r in whole.steps]


def test_it_can_be_turned_on_where_a_run_goes_on(
    writers: list[Writer], data: Path, tmp_path: Path
) -> None:
    done = finetune(make_request(data, tmp_path, epochs=1))
    resume_finetune(done.directory, changes={"epochs": 2, "tensorboard": True})
    assert writers[0].given_purge_step == 3
    assert [step for step, _ in writers[0].curves["train/loss"]] == [3, 4]
