"""Whatever is in a state, a run goes on from it or says which entry is wrong."""

import copy
from dataclasses import replace

import pytest
import torch
from training_runs import Recorder, make_request

from covtool.checkpoints.unpickling import load_own_file
from covtool.errors import CheckpointError
from covtool.training import finetune
from covtool.training.run.state import restore_
from covtool.training.start import prepare


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """The parts of a run after an epoch, and the content of its last state."""
    made, original = [], prepare.assemble
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "assemble", lambda *a: made.append(original(*a)) or made[-1])
        request = make_request(data, tmp_path_factory.mktemp("runs"), epochs=1, opt="adamw")
        directory = finetune(request, observer=Recorder()).directory
    return made[-1], directory / "checkpoints/last.pt"


@pytest.fixture
def restored(saved, tmp_path):
    """Restore the state whose content was changed."""
    parts, path = saved

    def restore(change):
        payload = torch.load(path, weights_only=True)
        torch.save(change(payload) or payload, tmp_path / "changed.pt")
        return restore_(parts, tmp_path / "changed.pt")

    return restore


def setting(*way, to):
    """Put a value somewhere."""

    def change(payload):
        *outer, last = way
        for name in outer:
            payload = payload[name]
        payload[last] = to

    return change


def without(*way):
    """Take something out."""

    def change(payload):
        *outer, last = way
        for name in outer:
            payload = payload[name]
        del payload[last]

    return change


GROUP, MOMENTS = ("optimizer", "param_groups", 0), ("optimizer", "state", 0)
PYTHON, NUMPY = ("generators", 0, "python"), ("generators", 0, "numpy")
WEIGHT = ("model", "conv1.0.weight")
BROKEN = {
    "version": setting("version", to=3),
    "version: The state": setting("version", to=torch.ones(2)),
    "The state: It is a list": lambda payload: [payload],
    "There is no 'progress'": without("progress"),
    "There is no 'generators'": without("generators"),
    "progress: It is a str": setting("progress", to="one"),
    "progress.epoch: Field required": without("progress", "epoch"),
    "progress.epoch: Input should be a valid integer": setting("progress", "epoch", to="1"),
    "progress.epoch: Input should be greater": setting("progress", "epoch", to=-1),
    "progress.updates": setting("progress", "updates", to=10**30),
    "progress.values: It has 1 values; 7": setting("progress", "epoch", to=7),
    "progress.values.0": setting("progress", "values", 0, to=float("nan")),
    "progress.chance": setting("progress", "chance", to=[True] * 9),
    "progress.unsaved": setting("progress", "unsaved", to=[9]),
    "progress.entered": setting("progress", "entered", to=1000),
    "progress.world": setting("progress", "world", to=0),
    "progress.micro_batch": setting("progress", "micro_batch", to=0),
    "progress.other": setting("progress", "other", to=1),
    "data: It is a NoneType": setting("data", to=None),
    "data: There is no 'training'": without("data", "training"),
    "data.training": setting("data", "training", to=5),
    "model: There is no 'conv1.0.weight'": without(*WEIGHT),
    "model.other: The model has no such tensor": setting("model", "other", to=torch.ones(1)),
    "model.conv1.0.weight: It is a list": setting(*WEIGHT, to=[]),
    "model.conv1.0.weight: It is float32 of shape (1,)": setting(*WEIGHT, to=torch.ones(1)),
    "model_ema: Only one of the run and the state": setting("model_ema", to={}),
    "optimizer: It is a list": setting("optimizer", to=[]),
    "optimizer.param_groups: They are not": setting("optimizer", "param_groups", to=[]),
    "optimizer.param_groups.0.params": setting(*GROUP, "params", to=[0]),
    "optimizer.param_groups.0: There is no 'lr'": without(*GROUP, "lr"),
    "optimizer.param_groups.0.lr: It is '0.1'": setting(*GROUP, "lr", to="0.1"),
    "optimizer.param_groups.0.betas": setting(*GROUP, "betas", to=(0.9,)),
    "optimizer.param_groups.0.eps": setting(*GROUP, "eps", to=float("nan")),
    "optimizer.state.999: There is no such": setting("optimizer", "state", 999, to={}),
    "optimizer.state.0: It is a str": setting(*MOMENTS, to="x"),
    "optimizer.state.0: There is no 'exp_avg'": without(*MOMENTS, "exp_avg"),
    "optimizer.state.0.exp_avg: It is float32": setting(*MOMENTS, "exp_avg", to=torch.ones(3)),
    "optimizer.state.0.step: It is None": setting(*MOMENTS, "step", to=None),
    "scaler: It is a NoneType": setting("scaler", to=None),
    "gradient_centralization": setting("gradient_centralization", to=torch.ones(3)),
    "generators: It is not a list": setting("generators", to=[]),
    "generators.0: It is not a state": setting("generators", 0, to={}),
    "generators.0: It is not": setting("generators", 0, "torch", to=torch.ones(5)),
    "generators.0: It": setting(*PYTHON, to=(3, (1, 2), None)),
    "generators.0": setting(*NUMPY, to=("MT19937", [0] * 624, 700, 0, 0.0)),
}


@pytest.mark.parametrize("key", BROKEN)
def test_what_is_wrong_in_a_state_is_named(restored, saved, key):
    parts, _ = saved
    before = copy.deepcopy(parts.model.state_dict())
    with pytest.raises(CheckpointError, match=r"changed\.pt cannot be resumed from") as caught:
        restored(BROKEN[key])
    assert key in caught.value.reason
    assert caught.value.reason.isprintable()
    assert all(torch.equal(t, before[n]) for n, t in parts.model.state_dict().items())


def test_names_that_would_move_the_cursor_are_escaped(restored):
    with pytest.raises(CheckpointError) as caught:
        restored(setting("model", "a\x1b[2J\nb", to=torch.ones(1)))
    assert r"model.a\x1b[2J\nb" in caught.value.reason


def test_a_state_of_an_older_version_that_counted_less_goes_on(restored):
    def older(payload):
        for name in ("chance", "correlations", "entered", "nonfinite", "replaced", "lead", "world"):
            del payload["progress"][name]

    assert restored(older).epoch == 1


def test_what_is_read_is_what_torch_reads(saved):
    _, path = saved
    own, expected = load_own_file(path), torch.load(path, weights_only=True)
    assert own.keys() == expected.keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(own["model"][name], tensor)
        assert own["model"][name].stride() == tensor.stride()
    assert own["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]
    for number, moments in expected["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(own["optimizer"]["state"][number][name], value)
    for name in ("progress", "data", "recipe", "scaler", "gradient_centralization"):
        assert own[name] == expected[name]
    assert own["generators"][0]["python"] == expected["generators"][0]["python"]


@pytest.mark.parametrize(
    "opt", ["sgd", "adamw", "lamb", "adafactor", "adafactorbv", "lookahead_sgd", "muon", "lion"]
)
def test_the_states_of_every_kind_of_optimizer_are_taken(saved, restored, opt):
    from covtool.training.parts.optimizer import build_optimizer
    from covtool.training.parts.parameter_groups import optimizer_groups

    parts, path = saved
    training = parts.training.model_copy(update={"opt": opt})
    groups = optimizer_groups(parts.model, parts.groups, training.lr)
    optimizer = build_optimizer(groups, training)
    for p in parts.model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    parts = replace(
        parts,
        optimizer=optimizer,
        request=parts.request.model_copy(update={"training": training}),
    )
    payload = torch.load(path, weights_only=True)
    payload["optimizer"] = copy.deepcopy(optimizer.state_dict())
    torch.save(payload, path.with_name("other.pt"))
    assert restore_(parts, path.with_name("other.pt")).epoch == 1
