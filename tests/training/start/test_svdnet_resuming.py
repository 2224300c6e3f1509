"""What a resumed run in phases keeps, and what may change: settling, iterations, images, models."""

import pytest
import torch
from retrieval_trees import write_msmt17, write_named
from svdnet_training import (
    GENTLE,
    UPDATES_PER_EPOCH,
    svdnet_request,
    write_data,
)
from training_runs import Recorder, content, power_cut, press_ctrl_c, rows, weights

from covtool.checkpoints.model_file import load
from covtool.diagnosing.replaying import replay
from covtool.errors import ArgumentError, DataError, InterruptedRunError, NonFiniteError
from covtool.run_files import spectrum_rows
from covtool.training import finetune, resume_finetune
from covtool.training.start import prepare

STATEFUL = {"model_ema": True, "model_ema_decay": 0.9, "gc": True, "classifier": "reset"}


@pytest.fixture
def asked(people, eigen_model, tmp_path):
    def request(**settings):
        return svdnet_request(eigen_model, people, tmp_path / "runs", **{**GENTLE, **settings})

    return request


@pytest.fixture(scope="module")
def whole(people, eigen_model, tmp_path_factory):
    """What an uninterrupted run leaves behind."""
    output = tmp_path_factory.mktemp("whole")
    return finetune(svdnet_request(eigen_model, people, output, **GENTLE, **STATEFUL)).directory


@pytest.fixture
def models(monkeypatch):
    """The models of runs that are started."""
    made, original = [], prepare.assemble
    monkeypatch.setattr(
        prepare, "assemble", lambda model, *rest: original(made.append(model) or model, *rest)
    )
    return made


def interrupted(request, observer):
    with pytest.raises(InterruptedRunError, match="the state was saved") as caught:
        finetune(request, observer=observer)
    directory = observer.plans[0].directory
    assert caught.value.hint == f"Go on with: covtool svdnet-rri --resume {directory}"
    return directory


def test_cut_before_its_first_state_it_starts_over_and_has_one_start(asked, whole, monkeypatch):
    watcher = Recorder()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="power cut"):
        patched.setattr("covtool.training.start.finetune.save", lambda run: power_cut())
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
    assert "is complete: S(W) after relaxation" in again.notes[-1]
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


def test_damaged_singular_values_are_told_and_may_be_left_behind(asked):
    watcher = Recorder(at_update=2 * UPDATES_PER_EPOCH + 2, do=press_ctrl_c)
    directory = interrupted(asked(), watcher)
    spectra = directory / "spectra.jsonl"
    lines = spectra.read_text().splitlines(keepends=True)
    assert len(lines) == 2
    spectra.write_text("nonsense\n" + lines[1])
    with pytest.raises(DataError, match=r"spectra\.jsonl, line 1, is damaged") as caught:
        resume_finetune(directory)
    assert "move it away" in caught.value.hint
    spectra.unlink()
    resume_finetune(directory)
    kept = [row.phase for row in spectrum_rows(directory)]
    assert kept == ["restraint 1", "relaxation 1", "restraint 2", "relaxation 2"]


def test_a_batch_that_stopped_a_restraint_can_be_run_again(asked, models):
    def spoil():
        with torch.no_grad():
            next(models[-1].parameters()).fill_(torch.nan)

    watcher = Recorder(at_update=2 * UPDATES_PER_EPOCH + 2, do=spoil)
    with pytest.raises(NonFiniteError):
        finetune(asked(), observer=watcher)
    assert replay(watcher.plans[0].directory / "nonfinite.pt", device="cpu").reproduced


def test_a_resumed_run_keeps_to_the_images_that_it_was_started_with(asked, tmp_path, eigen_model):
    data = write_data(tmp_path / "watched", query=True)
    (tmp_path / "watched/eve/1.png").write_bytes(b"no image")
    request = svdnet_request(eigen_model, data, tmp_path / "runs", **GENTLE, on_bad_image="skip")
    expected = finetune(request)
    directory = interrupted(request, Recorder(at_update=UPDATES_PER_EPOCH + 1, do=press_ctrl_c))
    data.write_text("path,identity,camera,split\n")
    resume_finetune(directory)
    assert content(directory) == content(expected.directory)


def test_numbers_that_training_and_test_share_by_chance_are_no_hindrance(eigen_model, tmp_path):
    """MSMT17 numbers them apart; the list of a run's images does not say so."""
    data = write_msmt17(tmp_path / "msmt")
    other = "0002/0002_000_03_0304noon_0009_0.jpg"  # a search needs two identities without the bad
    write_named(data / "test", other)
    with (data / "list_gallery.txt").open("a") as text:
        text.write(f"{other} 2\n")
    (bad,) = (data / "test/0001").iterdir()
    bad.write_bytes(b"no image")
    request = svdnet_request(
        eigen_model, data, tmp_path / "runs", **GENTLE, batch_size=2, on_bad_image="skip"
    )
    directory = interrupted(request, Recorder(at_update=1, do=press_ctrl_c))
    resume_finetune(directory)
    assert rows(directory)[-1]["phase"] == "relaxation 2"


def test_with_skip_the_search_does_without_an_image_that_is_gone(asked, tmp_path, eigen_model):
    data = write_data(tmp_path / "people")
    image = tmp_path / "people/eve/1.png"
    watcher = Recorder(at_update=1, do=image.unlink)
    request = svdnet_request(eigen_model, data, tmp_path / "runs", **GENTLE, on_bad_image="skip")
    result = finetune(request, observer=watcher)
    assert any(f"{image} cannot be read any more; the eval" in note for note in watcher.notes)
    metrics = load(result.exported["last"]).recipe.provenance.metrics
    assert {metric.images for metric in metrics} == {11}


def test_an_image_that_is_gone_when_it_is_searched_for_ends_the_run_in_order(
    asked, tmp_path, eigen_model
):
    data = write_data(tmp_path / "people")
    image = tmp_path / "people/eve/1.png"
    kept = image.read_bytes()
    watcher = Recorder(at_update=1, do=image.unlink)
    with pytest.raises(Exception, match=r"eve.1\.png") as caught:
        finetune(svdnet_request(eigen_model, data, tmp_path / "runs", **GENTLE), observer=watcher)
    assert "covtool svdnet-rri --resume" in caught.value.hint
    image.write_bytes(kept)
    expected = finetune(svdnet_request(eigen_model, data, tmp_path / "others", **GENTLE))
    directory = watcher.plans[0].directory
    resume_finetune(directory)
    assert content(directory) == content(expected.directory)
