"""Which of several sets of weights in a file is used."""

import pytest
import torch
from checkpoint_files import prefixed, tiny_model

from covtool.checkpoints import open_model, read_checkpoint
from covtool.checkpoints.weight_sets import PAIRS, choose, is_averaged
from covtool.errors import ArgumentError, CheckpointError


@pytest.fixture(scope="module")
def state():
    return tiny_model(num_classes=7).state_dict()


def other(state):
    return {name: tensor + 1 for name, tensor in state.items()}


def saved(content, tmp_path):
    torch.save(content, tmp_path / "test_resnet.pth")
    return tmp_path / "test_resnet.pth"


def bias(path, **arguments):
    return open_model(path, **arguments).model.state_dict()["fc.bias"]


AVERAGES = {
    "swa_state_dict": lambda a: a,
    "swa_model": lambda a: {"n_averaged": torch.tensor(3), **prefixed(a, "module.")},
    "ema_weights": lambda a: a,
    "averaged_model": lambda a: {"state_dict": a},
    "modelEMA": lambda a: a,
    "model_avg": lambda a: a,
    "polyak": lambda a: a,
}


@pytest.mark.parametrize("name", AVERAGES)
def test_what_is_called_an_average_is_used_and_said(tmp_path, state, name):
    path = saved({"state_dict": other(state), name: AVERAGES[name](dict(state))}, tmp_path)
    opened = open_model(path)
    assert torch.equal(opened.model.fc.bias, state["fc.bias"])
    assert any("averaged (EMA) weights" in note and name in note for note in opened.notes)
    assert torch.equal(bias(path, weights="raw"), state["fc.bias"] + 1)


@pytest.mark.parametrize("name", ["avgpool", "average_pooling", "schema", "teacher", "swap"])
def test_averages_are_told_by_whole_words(name):
    assert is_averaged(name) == (name == "average_pooling")


@pytest.mark.parametrize("beside", ["meta", "message_hub"])
def test_mmengine_exchanges_average_and_raw_weights_on_saving(tmp_path, state, beside):
    raw = {"steps": torch.tensor(9), **prefixed(other(state), "module.")}
    path = saved({beside: {"epoch": 1}, "state_dict": state, "ema_state_dict": raw}, tmp_path)
    assert read_checkpoint(path).is_ema
    assert torch.equal(bias(path), state["fc.bias"])
    assert torch.equal(bias(path, weights="raw"), state["fc.bias"] + 1)


def test_lightning_saves_the_average_in_the_usual_place(tmp_path, state):
    content = {
        "state_dict": prefixed(state, "model."),
        "current_model_state": prefixed(other(state), "model."),
        "averaging_state": {"n_averaged": torch.tensor(2)},
    }
    path = saved(content, tmp_path)
    assert torch.equal(bias(path), state["fc.bias"])
    assert read_checkpoint(path).is_ema


def both(one, prefix, other, other_prefix):
    return {**prefixed(one, prefix), **prefixed(other, other_prefix)}


ROLES = {
    "entries": lambda s, t: {"student": s, "teacher": t, "epoch": 1},
    "longer names": lambda s, t: {"student_state_dict": s, "teacher_state_dict": t},
    "one state dict": lambda s, t: {"state_dict": both(s, "student.", t, "teacher.")},
    "wrapped": lambda s, t: both(s, "module.student.net.", t, "module.teacher.net."),
}


@pytest.mark.parametrize("layout", ROLES)
def test_student_and_teacher_are_asked_for(tmp_path, state, layout):
    path = saved(ROLES[layout](dict(state), other(state)), tmp_path)
    with pytest.raises(CheckpointError, match="several sets of weights") as told:
        open_model(path)
    assert "--weights" in told.value.hint
    assert torch.equal(bias(path, weights="student"), state["fc.bias"])
    assert torch.equal(bias(path, weights="teacher"), state["fc.bias"] + 1)


def test_of_self_distillation_the_teacher_is_used(tmp_path, state):
    body = {n: t for n, t in state.items() if not n.startswith("fc.")}
    head = {"head.mlp.0.weight": torch.ones(4, 96), "head.last_layer.weight_g": torch.ones(9, 1)}
    one = {**prefixed(body, "backbone."), **head}
    raw = {**prefixed(other(body), "backbone."), **head}
    path = saved(
        {"student": raw, "teacher": one, "dino_loss": {"center": torch.zeros(9)}}, tmp_path
    )
    opened = open_model(path)
    name = next(iter(body))
    assert torch.equal(opened.model.state_dict()[name], body[name])
    assert any("teacher are used" in note for note in opened.notes)
    opened = open_model(path, weights="student")
    assert torch.equal(opened.model.state_dict()[name], body[name] + 1)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.taken}-{pair.left}")
def test_of_two_networks_trained_together_the_usual_one_is_used(tmp_path, state, pair):
    two = both(other(state), f"m.{pair.left}.", state, f"m.{pair.taken}.")
    path = saved({"state_dict": two}, tmp_path)
    opened = open_model(path)
    first = next(iter(state))
    assert torch.equal(opened.model.state_dict()[first], state[first])
    assert any(pair.taken in note and "--weights" in note for note in opened.notes)
    # What stands in the classifier's place of MoCo's encoders is a projection.
    assert opened.identification.num_classes == (None if pair.projects else 7)
    assert torch.equal(bias(path, weights=pair.left), state["fc.bias"] + 1)
    assert choose([f"{pair.left}.", f"{pair.taken}."]).name == f"{pair.taken}."


def test_networks_of_an_ensemble_are_asked_for_and_shared_weights_are_not(tmp_path, state):
    path = saved({**prefixed(state, "a."), **prefixed(other(state), "b.")}, tmp_path)
    with pytest.raises(CheckpointError, match="several sets of weights: a, b"):
        open_model(path)
    assert torch.equal(bias(path, weights="b"), state["fc.bias"] + 1)
    path = saved({**prefixed(state, "a."), **prefixed(state, "b.")}, tmp_path)
    assert torch.equal(bias(path), state["fc.bias"])


def test_a_name_that_nothing_has_is_refused(tmp_path, state):
    with pytest.raises(ArgumentError, match="no weights called 'encoder_k'"):
        open_model(saved(dict(state), tmp_path), weights="encoder_k")


def parameters(state):
    return {n: t for n, t in state.items() if "running" not in n and "num_batches" not in n}


@pytest.mark.parametrize("kind", ["a list in their order", "named"])
def test_an_average_of_the_parameters_alone_takes_the_buffers_of_the_raw_weights(
    tmp_path, state, kind
):
    averages = parameters(state)
    listed = {"decay": 0.99, "num_updates": 5, "shadow_params": list(averages.values())}
    average = listed if kind.startswith("a list") else averages
    path = saved({"model": other(state), "ema": average}, tmp_path)
    opened = open_model(path)
    assert torch.equal(opened.model.fc.bias, state["fc.bias"])
    mean = next(name for name in state if name.endswith("running_mean"))
    assert torch.equal(opened.model.state_dict()[mean], state[mean] + 1)
    assert any("no statistics of norms" in note for note in opened.notes)
    assert torch.equal(bias(path, weights="raw"), state["fc.bias"] + 1)


def test_a_list_that_is_not_of_the_parameters_is_no_average(tmp_path, state):
    listed = {"shadow_params": list(parameters(state).values())[1:]}
    path = saved({"model": other(state), "ema": listed}, tmp_path)
    assert torch.equal(bias(path), state["fc.bias"] + 1)


def test_an_average_in_the_state_of_lightnings_callback_is_used(tmp_path, state):
    callbacks = {"EMACallback{'decay': 0.99}": {"decay": 0.99, "ema_state_dict": dict(state)}}
    path = saved({"state_dict": other(state), "callbacks": callbacks}, tmp_path)
    opened = open_model(path)
    assert torch.equal(opened.model.fc.bias, state["fc.bias"])
    assert any("in callbacks > EMACallback" in note for note in opened.notes)
    assert torch.equal(bias(path, weights="raw"), state["fc.bias"] + 1)


@pytest.mark.parametrize("outer", ["", "model."])
def test_an_average_whose_names_have_no_dots_is_used(tmp_path, state, outer):
    dotless = {f"model_ema.{n.replace('.', '')}": t for n, t in parameters(state).items()}
    counters = {"model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(4)}
    path = saved({"state_dict": {**prefixed(other(state), outer), **dotless, **counters}}, tmp_path)
    assert torch.equal(bias(path), state["fc.bias"])
    assert torch.equal(bias(path, weights="raw"), state["fc.bias"] + 1)
    assert read_checkpoint(path).is_ema
