"""A run in phases goes on from anywhere, and ends with the bytes of one that nothing stopped."""

import pytest
import torch
from retrieval_trees import write_msmt17
from svdnet_training import (
    GENTLE,
    GENTLE_EPOCHS,
    UPDATES_PER_EPOCH,
    svdnet_request,
    write_data,
    write_eigen_model,
)
from training_runs import Recorder, content, power_cut, press_ctrl_c, rows, weights

from covtool.checkpoints.model_file import load
from covtool.diagnosing.replaying import replay
from covtool.errors import ArgumentError, InterruptedRunError, NonFiniteError
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training import assembly, finetune, preparing, resume_finetune

STATEFUL = {"model_ema": True, "model_ema_decay": 0.9, "gc": True, "classifier": "reset"}
RESTRAINT = 2  # the epoch, from 0, that the first one begins with


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_eigen_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def asked(data, model, tmp_path):
    def request(**settings):
        return svdnet_request(model, data, tmp_path / "runs", **{**GENTLE, **settings})

    return request


@pytest.fixture(scope="module")
def whole(data, model, tmp_path_factory):
    """What an uninterrupted run leaves behind."""
    output = tmp_path_factory.mktemp("whole")
    return finetune(svdnet_request(model, data, output, **GENTLE, **STATEFUL)).directory


@pytest.fixture
def models(monkeypatch):
    """The models of runs that are started."""
    made, original = [], preparing.assemble
    monkeypatch.setattr(
        preparing, "assemble", lambda model, *rest: original(made.append(model) or model, *rest)
    )
    return made


class Searching(Recorder):
    """Does something when the images are described for the n-th time."""

    def __init__(self, number, do):
        super().__init__(do=do)
        self.left = number

    def track(self, iterable, description, total):
        self.left -= description == "describing images"
        if description == "describing images" and self.left == 0:
            self.do()
        yield from iterable


def interrupted(request, observer):
    with pytest.raises(InterruptedRunError, match="the state was saved") as caught:
        finetune(request, observer=observer)
    directory = observer.plans[0].directory
    assert caught.value.hint == f"Go on with: covtool svdnet-rri --resume {directory}"
    return directory


@pytest.mark.parametrize(
    "update",
    [
        1,
        UPDATES_PER_EPOCH,
        2 * UPDATES_PER_EPOCH,
        2 * UPDATES_PER_EPOCH + 1,
        3 * UPDATES_PER_EPOCH,
        3 * UPDATES_PER_EPOCH + 1,
        UPDATES_PER_EPOCH * GENTLE_EPOCHS,
    ],
)
def test_interrupted_at_any_update_of_any_phase_it_ends_with_the_same_bytes(asked, whole, update):
    watcher = Recorder(at_update=update, do=press_ctrl_c)
    directory = interrupted(asked(**STATEFUL), watcher)
    resume_finetune(directory)
    assert content(directory) == content(whole)


@pytest.mark.parametrize("epoch", [1, 2, 3, 5])
def test_interrupted_after_an_epoch_as_well(asked, whole, epoch):
    directory = interrupted(asked(**STATEFUL), Recorder(at_epoch=epoch, do=press_ctrl_c))
    resume_finetune(directory)
    assert content(directory) == content(whole)


@pytest.mark.parametrize("number", [2, 3, 4])  # the first search is that of the start
def test_interrupted_in_a_search_as_well(asked, whole, number):
    directory = interrupted(asked(**STATEFUL), Searching(number, press_ctrl_c))
    resume_finetune(directory)
    assert content(directory) == content(whole)


def test_a_restraint_that_was_begun_is_not_begun_twice(asked, whole, monkeypatch):
    """The vectors are turned, and nothing is trained yet, when the run is interrupted."""
    begin, entered = assembly.Parts.begin_epoch, []

    def interrupting(self, epoch, *, step=0):
        begin(self, epoch, step=step)
        if epoch == RESTRAINT:
            entered.append(eigen_classifier(self.model).eigenlayer.weight.clone())
            press_ctrl_c()

    with monkeypatch.context() as patched:
        patched.setattr(assembly.Parts, "begin_epoch", interrupting)
        directory = interrupted(asked(**STATEFUL), Recorder())
    saved = weights(directory / "checkpoints/last.pt")
    assert torch.equal(saved["fc.eigenlayer.weight"], entered[0])
    resume_finetune(directory)
    assert content(directory) == content(whole)


@pytest.mark.parametrize("update", [2 * UPDATES_PER_EPOCH + 2, 5 * UPDATES_PER_EPOCH + 3])
@pytest.mark.parametrize("every", [0, 1])
def test_after_a_power_cut_it_ends_with_the_same_bytes(asked, whole, update, every):
    watcher = Recorder(at_update=update, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(**STATEFUL, save_every_steps=every), observer=watcher)
    directory = watcher.plans[0].directory
    resume_finetune(directory)
    assert content(directory) == content(whole)


def test_cut_before_its_first_state_it_starts_over_and_has_one_start(asked, whole, monkeypatch):
    watcher = Recorder()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="power cut"):
        patched.setattr("covtool.training.finetuning.save", lambda run: power_cut())
        finetune(asked(**STATEFUL), observer=watcher)
    directory = watcher.plans[0].directory
    assert [row["phase"] for row in rows(directory)] == ["start"]
    resume_finetune(directory)
    assert content(directory) == content(whole)


def test_a_run_that_settles_ends_and_goes_on_as_if_it_had_not(asked):
    watcher, again = Recorder(), Recorder()
    never = finetune(asked(rri=3))
    settled = finetune(asked(rri=3, stop_delta=1.0), observer=watcher)
    assert settled.stopped_early
    assert settled.epochs == 8  # two relaxations
    assert "S(W) after relaxation changed by less than --stop-delta 1." in watcher.notes[-1]
    resume_finetune(settled.directory, observer=again)
    assert again.steps == []
    assert "is through: S(W) after relaxation" in again.notes[-1]
    on = resume_finetune(settled.directory, changes={"stop_delta": 0.0})
    assert not on.stopped_early
    assert content(settled.directory) == content(never.directory)


def test_iterations_can_be_added_and_rates_cannot_be_changed(asked):
    longer = finetune(asked(rri=2))
    short = finetune(asked(rri=1))
    resume_finetune(short.directory, changes={"rri": 2})
    assert rows(short.directory) == rows(longer.directory)
    last = [weights(run.directory / "checkpoints/last.pt") for run in (short, longer)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    with pytest.raises(ArgumentError, match="--lrs is") as caught:
        resume_finetune(short.directory, changes={"lrs": [0.3]})
    assert "stop_delta" in caught.value.hint
    assert "epochs" not in caught.value.hint


def test_weights_that_are_restored_in_a_restraint_are_decorrelated_again(asked, models):
    """The newest state is that before the restraint was entered."""

    def spoil():
        with torch.no_grad():
            next(models[-1].parameters()).fill_(torch.nan)

    watcher = Recorder(at_update=2 * UPDATES_PER_EPOCH + 2, do=spoil)
    result = finetune(asked(on_nonfinite="restore"), observer=watcher)
    (note,) = (note for note in watcher.notes if "are restored" in note)
    assert f"step {2 * UPDATES_PER_EPOCH} are restored" in note
    restraint = rows(result.directory)[RESTRAINT + 1]
    assert restraint["phase"] == "restraint 1"
    assert float(restraint["correlation"]) == pytest.approx(1, abs=1e-6)


def test_a_batch_that_stopped_a_restraint_can_be_run_again(asked, models):
    def spoil():
        with torch.no_grad():
            next(models[-1].parameters()).fill_(torch.nan)

    watcher = Recorder(at_update=2 * UPDATES_PER_EPOCH + 2, do=spoil)
    with pytest.raises(NonFiniteError):
        finetune(asked(), observer=watcher)
    assert replay(watcher.plans[0].directory / "nonfinite.pt", device="cpu").reproduced


def test_a_resumed_run_keeps_to_the_images_that_it_was_started_with(asked, tmp_path, model):
    data = write_data(tmp_path / "watched", query=True)
    (tmp_path / "watched/eve/1.png").write_bytes(b"no image")
    request = svdnet_request(model, data, tmp_path / "runs", **GENTLE, on_bad_image="skip")
    expected = finetune(request)
    directory = interrupted(request, Recorder(at_update=UPDATES_PER_EPOCH + 1, do=press_ctrl_c))
    data.write_text("path,identity,camera,split\n")
    resume_finetune(directory)
    assert content(directory) == content(expected.directory)


def test_numbers_that_training_and_test_share_by_chance_are_no_hindrance(model, tmp_path):
    """MSMT17 numbers them apart; the list of a run's images does not say so."""
    data = write_msmt17(tmp_path / "msmt")
    (bad,) = (data / "test/0001").iterdir()
    bad.write_bytes(b"no image")
    request = svdnet_request(
        model, data, tmp_path / "runs", **GENTLE, batch_size=2, on_bad_image="skip"
    )
    directory = interrupted(request, Recorder(at_update=1, do=press_ctrl_c))
    resume_finetune(directory)
    assert rows(directory)[-1]["phase"] == "relaxation 2"


def test_with_skip_the_search_does_without_an_image_that_is_gone(asked, tmp_path, model):
    data = write_data(tmp_path / "people")
    image = tmp_path / "people/eve/1.png"
    watcher = Recorder(at_update=1, do=image.unlink)
    request = svdnet_request(model, data, tmp_path / "runs", **GENTLE, on_bad_image="skip")
    result = finetune(request, observer=watcher)
    assert any(f"{image} cannot be read any more; the eval" in note for note in watcher.notes)
    metrics = load(result.exported["last"]).recipe.provenance.metrics
    assert {metric.images for metric in metrics} == {11}


def test_an_image_that_is_gone_when_it_is_searched_for_ends_the_run_in_order(
    asked, tmp_path, model
):
    data = write_data(tmp_path / "people")
    image = tmp_path / "people/eve/1.png"
    kept = image.read_bytes()
    watcher = Recorder(at_update=1, do=image.unlink)
    with pytest.raises(Exception, match=r"eve.1\.png") as caught:
        finetune(svdnet_request(model, data, tmp_path / "runs", **GENTLE), observer=watcher)
    assert "covtool svdnet-rri --resume" in caught.value.hint
    image.write_bytes(kept)
    expected = finetune(svdnet_request(model, data, tmp_path / "others", **GENTLE))
    directory = watcher.plans[0].directory
    resume_finetune(directory)
    assert content(directory) == content(expected.directory)
