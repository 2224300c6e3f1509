"""A run in SVDNet's phases goes on from any moment, and ends with the very same bytes."""

from functools import partial

import pytest
import torch
from svdnet_training import svdnet_request, write_data, write_eigen_model
from training_runs import Recorder, content, power_cut, press_ctrl_c

from covtool.errors import ArgumentError, InterruptedRunError, SaveError
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training import finetune, resume_finetune
from covtool.training.run.checkpoints import CheckpointStore
from covtool.training.start import prepare

# Everything that holds state or draws at random: momentum, an average, statistics, mixing.
EVERYTHING = {"gc": True, "model_ema": True, "bn_stats": "train", "mixup": 0.2}
BASE, RESTRAINT_1, RELAXATION_1 = 4, 12, 16  # updates after which these phases are over
# In the order in which a run comes by.
MOMENTS = {
    "the first update": {"at_update": 1},
    "the last update of a phase": {"at_update": BASE},
    "in the search after it": {"searching": True},
    "right after its epoch": {"at_epoch": 1},
    "between the decorrelation and the first update": {"announced": "restraint 1"},
    "the first update of a restraint": {"at_update": BASE + 1},
    "after an epoch that is not a phase's last": {"at_epoch": 2},
    "the last update of a restraint": {"at_update": RESTRAINT_1},
    "before the first update of a relaxation": {"announced": "relaxation 1"},
    "the first update of a relaxation": {"at_update": RESTRAINT_1 + 1},
    "between the second decorrelation and its first update": {"announced": "restraint 2"},
    "in the second epoch of the second restraint": {"at_update": RELAXATION_1 + 6},
    "the last update of all": {"at_update": 28},
    "in the last search": {"searching": True},
    "after the last epoch": {"at_epoch": 7},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Make a request: any setting of `PHASED`, or fields of the request."""
    folder = tmp_path_factory.mktemp("svdnet")
    model, data = write_eigen_model(folder), write_data(folder / "data")

    def request(**settings):
        return svdnet_request(model, data, folder / "runs", **settings)

    return request


@pytest.fixture(scope="module")
def uninterrupted(asked):
    """What runs that nothing happened to left behind, by ``--classifier``."""
    found = {}

    def of(classifier):
        if classifier not in found:
            found[classifier] = finetune(asked(classifier=classifier, **EVERYTHING)).directory
        return found[classifier]

    return of


class Disturbed(Recorder):
    """Does something at an update, an epoch, in a search, or where a phase is announced."""

    def __init__(self, do, *, searching=False, announced=None, **when):
        super().__init__(do=do, **when)
        self.searching, self.announced = searching, announced

    def on_note(self, text):
        super().on_note(text)
        if self.announced and f": {self.announced} (" in text:
            self.do()

    def track(self, iterable, description, total):
        for number, item in enumerate(iterable):
            if number == 1 and self.searching and description == "extracting features":
                self.do()
            yield item


def cut_short(start, do=power_cut, **moment):
    """The folder of a run that ended without warning, or was stopped by hand."""
    observer = Disturbed(do, **moment)
    with pytest.raises((RuntimeError, InterruptedRunError), match=r"power cut|by SIGINT"):
        start(observer=observer)
    return observer.plans[0].directory


@pytest.mark.parametrize(
    ("do", "settings"),
    [
        (press_ctrl_c, {"classifier": "fold", "save_every_steps": 1}),
        (press_ctrl_c, {"classifier": "reset"}),
        (power_cut, {"classifier": "reset", "save_every_steps": 1}),
        pytest.param(power_cut, {"classifier": "fold"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_ends_at_every_kind_of_moment_ends_with_the_very_same_bytes(
    asked, uninterrupted, do, settings
):
    start = partial(finetune, asked(**settings, **EVERYTHING))
    for moment in MOMENTS.values():
        directory = cut_short(start, do, **moment)
        start = partial(resume_finetune, directory)
    result = start()
    assert content(result.directory) == content(uninterrupted(settings["classifier"]))


SHORT = {"restraint_epochs": 1, "rri": 3}  # with base, seven epochs
ALWAYS = 0.99  # no change of S(W), between 1/8 and 1, is as large


@pytest.fixture(scope="module")
def short(asked):
    """What such a run that is never cut short leaves behind."""
    return finetune(asked(**SHORT)).directory


def test_a_run_does_not_settle_in_the_middle_of_a_phase(asked, short):
    """Weights that were changed since the relaxation are not those that had settled."""
    start = partial(finetune, asked(**SHORT))
    directory = cut_short(start, press_ctrl_c, announced="restraint 3")
    observer = Recorder()
    result = resume_finetune(directory, changes={"stop_delta": ALWAYS}, observer=observer)
    assert [record.epoch for record in observer.epochs] == [6, 7]
    assert content(result.directory) == content(short)


@pytest.mark.parametrize("moment", [{"at_epoch": 5}, {"announced": "restraint 2"}])
def test_fewer_iterations_than_have_begun_are_refused(asked, moment):
    start = partial(finetune, asked(restraint_epochs=2, rri=2))
    directory = cut_short(start, press_ctrl_c, **moment)
    with pytest.raises(
        ArgumentError, match=r"With --rri 1 .* after epoch 4, but it has begun epoch 5"
    ):
        resume_finetune(directory, changes={"rri": 1})
    assert resume_finetune(directory).epochs == 7


@pytest.fixture
def assembled(monkeypatch):
    """Everything of the runs that are started."""
    made, original = [], prepare.assemble

    def assemble(*arguments):
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(prepare, "assemble", assemble)
    return made


class Poisoning(Recorder):
    """Makes the model infinite at an update, and keeps the Eigenlayers after every other one."""

    def __init__(self, assembled, *, at_update):
        super().__init__(at_update=at_update, do=self.poison)
        self.assembled, self.eigenlayers = assembled, {}

    def poison(self):
        eigen_classifier(self.assembled[-1].model).classifier.bias.data.fill_(torch.inf)

    def on_step(self, record):
        layers = [eigen_classifier(model).eigenlayer for model in self.assembled[-1].models]
        weights = [layer.weight.detach().clone() for layer in layers]
        self.eigenlayers[record.update] = layers[0].correlation, weights
        super().on_step(record)

    def assert_restrained(self, updates):
        """One orthogonal weight all the time, in the model and in its average."""
        held = self.eigenlayers[updates[-1]][1][0]
        for update in updates:
            correlation, weights = self.eigenlayers[update]
            assert correlation == pytest.approx(1, abs=1e-5)
            assert all(torch.equal(weight, held) for weight in weights)


SURVIVING = {"on_nonfinite": "restore", "model_ema": True, "aug": False}


@pytest.mark.parametrize("classifier", ["fold", "reset"])
def test_weights_restored_from_before_a_restraint_are_decorrelated_as_well(
    asked, assembled, classifier
):
    observer = Poisoning(assembled, at_update=BASE + 1)
    finetune(asked(classifier=classifier, **SURVIVING), observer=observer)
    (note,) = (n for n in observer.notes if "restored" in n)
    assert "at step 6: the weights and the optimizer of step 4 are restored" in note
    observer.assert_restrained([5, *range(7, RESTRAINT_1 + 1)])
    assert observer.eigenlayers[RESTRAINT_1 + 1][0] < 1 - 1e-5


def test_so_they_are_in_the_second_epoch_of_a_restraint_where_no_state_was_saved(
    asked, assembled, monkeypatch
):
    original, observer = CheckpointStore.save, Poisoning(assembled, at_update=RESTRAINT_1 - 3)

    def save(self, payload, also_as=()):
        if BASE <= payload["progress"]["updates"] < RESTRAINT_1:
            raise SaveError("The disk is full.")
        original(self, payload, also_as)

    monkeypatch.setattr(CheckpointStore, "save", save)
    finetune(asked(**SURVIVING), observer=observer)
    (note,) = (n for n in observer.notes if "restored" in n)
    assert "at step 10: the weights and the optimizer of step 0 are restored" in note
    observer.assert_restrained([11, 12])
