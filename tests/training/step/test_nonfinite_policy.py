from functools import partial

import pytest
import torch
from PIL import Image
from toy_data import write_toy_data
from training_runs import Recorder, assert_same_weights, make_request, power_cut, weights

from covtool.errors import NonFiniteError
from covtool.training import finetune, resume_finetune
from covtool.training.start import prepare
from covtool.training.step.nonfinite_dump import read_dump

WHITE = "train/red/5.png"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One of the 36 images is white: the network below cannot stand it."""
    root = write_toy_data(tmp_path_factory.mktemp("toy"))
    Image.new("RGB", (24, 24), (255, 255, 255)).save(root / WHITE)
    return root


class Allergic(torch.nn.BatchNorm2d):
    """A batch norm that, in training, answers white images with infinities."""

    white = False
    factor = torch.inf

    def forward(self, features):
        return super().forward(features * self.factor if self.white and self.training else features)

    def look(self, module, inputs):
        self.white = bool(is_white(inputs[0]).any())


def is_white(images):
    return images.amin((1, 2, 3)) > 0.9


@pytest.fixture
def models(monkeypatch):
    """The models of the runs that are started, each with an `Allergic` layer in it."""
    made, original = [], prepare.assemble

    def assemble(model, *rest):
        made.append(model)
        model.bn1.__class__ = Allergic
        model.register_forward_pre_hook(model.bn1.look)
        return original(model, *rest)

    monkeypatch.setattr(prepare, "assemble", assemble)
    return made


@pytest.fixture
def asked(data, tmp_path, models):
    return partial(make_request, data, tmp_path / "runs", aug=False)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Witness(Recorder):
    """Keeps the model's state after every update and at every note about one."""

    def __init__(self, models, **settings):
        super().__init__(**settings)
        self.models, self.after, self.noted = models, {}, []

    def on_step(self, record):
        self.after[record.update] = state_of(self.models[-1])
        super().on_step(record)

    def on_note(self, text):
        super().on_note(text)
        if "at step" in text:
            self.noted.append(state_of(self.models[-1]))
            self.saved = weights(self.plans[0].directory / "checkpoints/last.pt")


def test_stop_leaves_the_batch_and_the_state_before_it_in_a_file(asked, models):
    witness = Witness(models)
    with pytest.raises(NonFiniteError, match=r"The loss is nan at step \d\.") as caught:
        finetune(asked(model_ema=True), observer=witness)
    path = witness.plans[0].directory / "nonfinite.pt"
    assert f"covtool doctor --replay {path}" in caught.value.hint
    assert "The last good state is" in caught.value.hint
    assert "The first layer with a non-finite output is 'bn1'" in caught.value.reason
    dump = read_dump(path)
    assert dump.update == dump.step == len(witness.steps) + 1
    assert_same_weights(dump.model, witness.after[dump.update - 1])  # batch statistics included
    assert dump.model_ema.keys() == dump.model.keys()
    (batch,) = dump.batches
    assert is_white(batch.images).sum() == 1
    assert batch.targets.shape == (6,)
    assert dump.layer == "bn1"
    assert dump.request.model == "test_resnet"


def test_skip_leaves_everything_as_it_was_and_goes_on(asked, models):
    witness = Witness(models)
    result = finetune(asked(on_nonfinite="skip"), observer=witness)
    assert result.epochs == 2
    done = [record.update for record in witness.steps]
    skipped = sorted(set(range(1, 13)) - set(done))
    assert len(skipped) == 2  # the image comes once an epoch
    assert len(witness.noted) == 2
    for update, state in zip(skipped, witness.noted, strict=True):
        assert_same_weights(state, witness.after[update - 1])
    first = witness.notes_on_training[-2]
    assert f"The loss is nan at step {skipped[0]}: the update is skipped (1 of at most 10)" in first
    assert [note for note in result.notes if "at step" in note] == witness.notes_on_training[-2:]
    saved = torch.load(result.directory / "checkpoints/last.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
    assert saved["progress"]["nonfinite"] == 2


def test_statistics_that_overflow_behind_a_finite_loss_are_noticed(asked, models, monkeypatch):
    """The squares of large features overflow in the variance, which normalizes them to nothing."""
    monkeypatch.setattr(Allergic, "factor", 1e30)
    witness = Witness(models)
    result = finetune(asked(on_nonfinite="skip"), observer=witness)
    assert len(witness.noted) == 2
    assert all(
        "The statistics of a batch norm are not finite" in n for n in witness.notes_on_training[-2:]
    )
    assert "'bn1.running_var'" in witness.notes_on_training[-1]
    skipped = set(range(1, 13)) - {record.update for record in witness.steps}
    for update, state in zip(sorted(skipped), witness.noted, strict=True):
        assert_same_weights(state, witness.after[update - 1])
    last = weights(result.directory / "checkpoints/last.pt")
    assert all(tensor.isfinite().all() for tensor in last.values())


def test_the_schedule_counts_a_skipped_update(asked, models, monkeypatch):
    skipping, whole = Recorder(), Recorder()
    finetune(asked(on_nonfinite="skip"), observer=skipping)
    monkeypatch.setattr(Allergic, "look", lambda *_: None)
    finetune(asked(), observer=whole)
    rates = {record.update: record.lr for record in whole.steps}
    assert len(rates) == 12
    assert len(skipping.steps) == 10
    assert all(record.lr == rates[record.update] for record in skipping.steps)


def test_restore_goes_back_to_the_saved_weights_and_passes_over_the_batch(asked, models):
    witness = Witness(models)
    finetune(asked(on_nonfinite="restore", epochs=1), observer=witness)
    (update,) = set(range(1, 7)) - {record.update for record in witness.steps}
    (restored,) = witness.noted
    assert_same_weights(restored, witness.saved)
    assert update > 1
    assert not torch.equal(restored["fc.weight"], witness.after[update - 1]["fc.weight"])
    assert any("the weights and the optimizer of step 0 are restored" in n for n in witness.notes)


@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_what_is_survived_is_counted_and_bounded(asked, models, policy):
    recorder = Recorder()
    with pytest.raises(NonFiniteError) as caught:
        finetune(asked(on_nonfinite=policy, nonfinite_limit=1), observer=recorder)
    assert "went on once before (--nonfinite-limit)" in caught.value.reason
    assert sum("(1 of at most 1)" in note for note in recorder.notes) == 1
    assert (recorder.plans[0].directory / "nonfinite.pt").exists()


HALF = {"amp": True, "amp_dtype": "float16"}  # whose scaler has a state of its own


@pytest.mark.parametrize("precision", [{}, HALF], ids=["float32", "float16"])
@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_a_killed_run_that_survived_some_goes_on_exactly(asked, models, policy, precision):
    settings = {"on_nonfinite": policy, "epochs": 3, "model_ema": True, "gc": True, **precision}
    whole, cut, rest = Recorder(), Recorder(at_epoch=2, do=power_cut), Recorder()
    expected = finetune(asked(**settings), observer=whole)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(**settings), observer=cut)
    result = resume_finetune(cut.plans[0].directory, observer=rest)
    states = [
        torch.load(r.directory / "checkpoints/last.pt", weights_only=True)
        for r in (expected, result)
    ]
    for part in ("model", "model_ema"):
        assert_same_weights(states[0][part], states[1][part])
    assert states[0]["scaler"] == states[1]["scaler"]
    assert states[0]["progress"]["nonfinite"] == states[1]["progress"]["nonfinite"] == 3


def test_skipping_is_no_way_out_of_weights_that_are_not_finite(asked, models):
    def poison():
        models[0].layer3[0].conv1.weight.data[0] = torch.nan

    recorder = Recorder(at_update=2, do=poison)
    with pytest.raises(NonFiniteError, match="at step 3") as caught:
        finetune(asked(on_nonfinite="skip"), observer=recorder)
    assert "its weight is not finite" in caught.value.reason


def test_restoring_is(asked, models, data, tmp_path):
    def poison():
        models[0].fc.bias.data.fill_(torch.inf)

    recorder = Recorder(at_update=6, do=poison)  # the last of an epoch: nothing but a look tells
    result = finetune(asked(on_nonfinite="restore"), observer=recorder)
    assert any("After step 6 the model is not finite any more." in n for n in recorder.notes)
    last = weights(result.directory / "checkpoints/last.pt")
    assert all(tensor.isfinite().all() for tensor in last.values())


def test_a_gradient_that_is_not_finite_is_noticed_before_the_step(asked, models):
    calls = []

    def poisoned(gradient):
        calls.append(1)
        return gradient * torch.nan if len(calls) > 2 else gradient

    def poison():
        models[0].layer2[0].conv1.weight.register_hook(poisoned)

    witness = Witness(models, at_update=1, do=poison)
    with pytest.raises(NonFiniteError, match="The gradient is not finite at step") as caught:
        finetune(asked(batch_size=4, seed=3), observer=witness)
    assert "'layer2.0.conv1.weight'" in caught.value.reason


def test_a_full_disk_does_not_hide_what_went_wrong(asked, models, monkeypatch):
    def full(*arguments, **settings):
        raise OSError("No space left on device")

    from covtool.training.step import nonfinite_policy

    monkeypatch.setattr(nonfinite_policy, "write_dump", full)
    recorder = Recorder()
    with pytest.raises(NonFiniteError, match="The loss is nan") as caught:
        finetune(asked(), observer=recorder)
    assert "could not be kept" in caught.value.hint
    assert "No space left" in caught.value.hint
    assert not (recorder.plans[0].directory / "nonfinite.pt").exists()
