"""Several processes in SVDNet's phases: one state, one schedule, whoever goes on with it."""

import signal
from functools import partial

import pytest
import torch
from process_group import run_together
from svdnet_training import svdnet_request, write_data, write_eigen_model
from training_runs import LOSSES, WEIGHTS, Recorder, content, power_cut, press_ctrl_c, rows, weights

from covtool.errors import InterruptedRunError
from covtool.layers import eigenlayer
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training import finetune, resume_finetune
from covtool.training.loop import validate
from covtool.training.parts.restraint_relaxation import RestraintRelaxation
from covtool.training.start import prepare

BASE = 4  # updates of 6 images
SHORT = {"restraint_epochs": 1, "rri": 1}  # three epochs
EIGENLAYER = "fc.eigenlayer.weight"


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Make a request: any setting of `PHASED`, or fields of the request."""
    folder = tmp_path_factory.mktemp("svdnet")
    model, data = write_eigen_model(folder), write_data(folder / "data")
    return partial(svdnet_request, model, data, folder / "runs")


def run(request):
    """What somebody sees of a run, and its last state."""
    observer = Recorder()
    directory = finetune(request, observer=observer).directory
    return observer, torch.load(directory / "checkpoints/last.pt", weights_only=True)


def train(rank, requests):
    runs = [run(request) for request in requests]
    return [(observer.steps, observer.epochs, state) for observer, state in runs]


ALIKE = (
    {"model_ema": True, "gc": True, "classifier": "reset"},
    {"bn_stats": "train", "sync_bn": True, "lr": 0.002, "lrs": (0.001,)},
)


def test_every_figure_is_that_of_one_process(asked):
    settings = [{**SHORT, **special} for special in ALIKE]
    together, _ = run_together(train, [asked(batch_size=3, **s) for s in settings])
    for setting, (steps, epochs, state) in zip(settings, together, strict=True):
        alone, expected = run(asked(**{**setting, "sync_bn": False}))
        assert len(steps) == len(alone.steps) == 3 * BASE
        for one, several in zip(alone.steps, steps, strict=True):
            assert (several.epoch, several.step, several.lr) == (one.epoch, one.step, one.lr)
            assert several.loss == pytest.approx(one.loss, **LOSSES)
        for one, several in zip(alone.epochs, epochs, strict=True):
            assert several.figures == one.figures
            assert several.phase.name == one.phase.name
            assert several.phase.correlation == pytest.approx(one.phase.correlation, rel=1e-5)
        for name, tensor in expected["model"].items():
            torch.testing.assert_close(state["model"][name], tensor, msg=name, **WEIGHTS)


def decompose(rank, request):
    """The networks as each phase finds them, where no two processes decompose a matrix alike."""
    decorrelate, enter, found = eigenlayer.decorrelate, RestraintRelaxation.enter_, []

    def differently(weight, **settings):
        return decorrelate(weight, **settings) * (1 + rank / 100)

    def watched(phases, models, *rest, **settings):
        enter(phases, models, *rest, **settings)
        found.append([{n: t.clone() for n, t in m.state_dict().items()} for m in models])

    eigenlayer.decorrelate, RestraintRelaxation.enter_ = differently, watched  # of this process
    finetune(request)
    return found


def test_all_have_the_vectors_of_the_first_and_so_have_their_averages(asked):
    first, second = run_together(decompose, asked(**SHORT, batch_size=3, model_ema=True))
    assert len(first) == len(second) == 3
    for models, others in zip(first, second, strict=True):
        for model, other in zip(models, others, strict=True):
            for name, tensor in model.items():
                assert torch.equal(tensor, other[name]), name


def stop(rank, start, update):
    """The folder of a run that somebody stops after an update."""
    observer = Recorder(at_update=update, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        start(observer=observer)
    return observer.plans[0].directory if rank == 0 else None


def go_on(rank, directory):
    observer = Recorder()
    resume_finetune(directory, observer=observer)
    return observer.steps


def rates(steps):
    return {(record.epoch, record.step): record.lr for record in steps}


def test_another_number_of_processes_keeps_to_the_phases_and_their_rates(asked):
    settings = {"rri": 1, "batch_size": 3}
    alone, _ = run(asked(**settings))
    double, _ = run(asked(**settings | {"batch_size": 6}))  # as two processes
    start = partial(finetune, asked(**settings, experiment="shared"))
    directory, _ = run_together(stop, start, BASE + 1)
    decorrelated = weights(directory / "checkpoints/last.pt")[EIGENLAYER]
    # Of eight updates in the second epoch two are done, then eight more are the restraint.
    restraint = Recorder(at_epoch=3, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        resume_finetune(directory, observer=restraint)
    assert (restraint.steps[0].epoch, restraint.steps[0].step, len(restraint.steps)) == (2, 3, 14)
    assert torch.equal(weights(directory / "checkpoints/last.pt")[EIGENLAYER], decorrelated)
    relaxation = Recorder(at_update=BASE + 1 + 14 + 4, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        resume_finetune(directory, observer=relaxation)
    steps, _ = run_together(go_on, directory)
    assert (steps[0].epoch, steps[0].step, len(steps)) == (4, 3, 2)
    assert rates([*restraint.steps, *relaxation.steps]).items() <= rates(alone.steps).items()
    assert rates(steps).items() <= rates(double.steps).items()
    phases = ["start", "base", "restraint 1", "restraint 1", "relaxation 1"]
    assert [row["phase"] for row in rows(directory)] == phases


def test_weights_that_others_saved_are_restored_with_the_own_schedule(asked, monkeypatch):
    settings = {"rri": 1, "batch_size": 3, "on_nonfinite": "restore"}
    alone, _ = run(asked(**settings))
    start = partial(finetune, asked(**settings, experiment="poisoned"))
    directory, _ = run_together(stop, start, BASE + 1)
    models, original = [], prepare.assemble
    monkeypatch.setattr(
        prepare, "assemble", lambda model, *rest: original(models.append(model) or model, *rest)
    )

    def poison():
        eigen_classifier(models[-1]).classifier.bias.data.fill_(torch.inf)

    rest = Recorder(at_update=BASE + 2, do=poison)
    resume_finetune(directory, observer=rest)
    assert any("the optimizer of step 5 are restored" in note for note in rest.notes)
    assert rates(rest.steps).items() <= rates(alone.steps).items()
    assert rest.epochs[1].phase.correlation == pytest.approx(1, abs=1e-5)


def stop_in_search(rank, request):
    """The second process is told to end while it describes images, at the end of base."""
    describe, searches = validate.FeatureExtractor.__call__, []

    def described(extractor, *arguments, **settings):
        searches.append(1)
        if rank == 1 and len(searches) == 2:
            signal.raise_signal(signal.SIGTERM)
        return describe(extractor, *arguments, **settings)

    validate.FeatureExtractor.__call__ = described  # of this process
    with pytest.raises(InterruptedRunError, match=f"after step {BASE};"):
        finetune(request)


def train_once(rank, request):
    return finetune(request).directory


def test_a_signal_to_one_process_in_a_search_ends_all_and_no_byte_is_lost(asked):
    request = partial(asked, **SHORT, batch_size=3, model_ema=True, bn_stats="train")
    whole, _ = run_together(train_once, request(experiment="whole"))
    assert run_together(stop_in_search, request(experiment="told")) == [None, None]
    told = whole.with_name("told")
    run_together(go_on, told)
    assert content(told) == content(whole)
