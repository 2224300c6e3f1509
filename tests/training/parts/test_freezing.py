"""What is frozen when, and that nothing reaches it meanwhile."""

from pathlib import Path

import pytest
import torch
from torch import nn
from toy_data import write_toy_data
from training_runs import Recorder, changed, make_request, press_ctrl_c, weights

from covtool.backbones.create import create_model, parse_name
from covtool.errors import ArgumentError, InterruptedRunError
from covtool.specs import InputSpec, TrainingSpec
from covtool.specs.freezing import FreezeRule, parse_freeze
from covtool.training import FinetuneResult, finetune, resume_finetune
from covtool.training.centralization.hooks import centralize_gradients
from covtool.training.parts.freezing import (
    FreezeSchedule,
    keep_batch_statistics_,
    plan_freezing,
    set_train_mode_,
    set_trainable_,
)
from covtool.training.parts.head import ClassifierHead, find_head
from covtool.training.parts.optimizer import build_optimizer
from covtool.training.parts.parameter_groups import optimizer_groups, plan_parameter_groups

HEAD = {"fc.weight", "fc.bias"}


def network() -> tuple[nn.Module, ClassifierHead]:
    torch.manual_seed(0)
    model = create_model(parse_name("test_resnet")[0], num_classes=5)
    return model, find_head(model, InputSpec(size=(32, 32)))


def planned(*texts: str) -> tuple[nn.Module, FreezeSchedule]:
    model, head = network()
    return model, plan_freezing(model, head, [parse_freeze(text) for text in texts])


def names_in(model: nn.Module, module: str = "") -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(module)}


@pytest.mark.parametrize("text", ["backbone", "backbone@3", "layer1.*", "layer[12].*@15"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_freeze(text)) == text


@pytest.mark.parametrize("text", ["", "@3", "layer1@", "layer1@0", "layer1@-1", "a@1@2", "a b"])
def test_what_is_no_rule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ArgumentError, match="backbone@3"):
        parse_freeze(text)


def test_freezing_for_some_epochs_is_the_short_form_of_a_rule() -> None:
    training = TrainingSpec(freeze=("layer1.*@5",), freeze_epochs=3)
    assert training.freeze_rules == (
        FreezeRule(pattern="layer1.*", epochs=5),
        FreezeRule(pattern="backbone", epochs=3),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": ("backbone",), "freeze_epochs": 1}, "no effect beside --freeze backbone"),
        ({"freeze_epochs": 2}, "--freeze backbone@2 is all of --epochs 2"),
        ({"freeze": ("layer1@3",)}, "--freeze layer1@3 is all of --epochs 2"),
        ({"freeze": ("layer1", "layer1@1")}, "--freeze has 'layer1' 2 times"),
        ({"freeze": ("backbone@1",), "freeze_epochs": 1}, "--freeze has 'backbone' 2 times"),
        ({"freeze": ("layer1@x",)}, "neither PATTERN nor PATTERN@EPOCHS"),
    ],
)
def test_rules_that_make_no_sense_in_a_run_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TrainingSpec(epochs=2, **settings).validate_fields()


def test_freezing_the_backbone_leaves_the_head() -> None:
    model, schedule = planned("backbone")
    assert schedule.trained == schedule.at(0) == HEAD < names_in(model)


@pytest.mark.parametrize("pattern", ["layer1", "layer1.*", "layer[1]*"])
def test_a_pattern_freezes_modules_and_parameters(pattern: str) -> None:
    model, schedule = planned(pattern)
    assert names_in(model) - schedule.trained == names_in(model, "layer1.")


def test_a_parameter_is_frozen_as_long_as_any_rule_holds_it() -> None:
    model, schedule = planned("backbone@2", "layer1@3", "layer2.0")
    everything, layer1, never = names_in(model), names_in(model, "layer1."), "layer2.0."
    assert schedule.at(0) == schedule.at(1) == HEAD
    assert schedule.at(2) == everything - layer1 - names_in(model, never)
    assert schedule.at(3) == schedule.at(99) == schedule.trained
    assert schedule.trained == everything - names_in(model, never)


def test_a_note_says_what_thaws_and_how_much() -> None:
    model, schedule = planned("backbone@2", "layer1@3", "layer2.*@3")
    assert [epoch for epoch in range(9) if schedule.note(epoch)] == [2, 3]
    count = len(names_in(model) - HEAD - names_in(model, "layer1.") - names_in(model, "layer2."))
    assert schedule.note(2) == f"Epoch 3: backbone thaws, {count} more tensors are trained."
    count = len(names_in(model, "layer1.") | names_in(model, "layer2."))
    assert schedule.note(3) == f"Epoch 4: layer1, layer2.* thaw, {count} more tensors are trained."


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["layer9"], r"--freeze 'layer9' fits no parameter\.\n.*layer"),
        (["*"], r"leaves nothing to train\.\n"),
        (["backbone", "fc"], r"leaves nothing to train\.\n"),
        (["*@3"], r"leaves nothing to train in the first epoch\.\n"),
        (["backbone@5", "layer1@3"], r"layer1@3 thaws nothing after 3 epochs.\n.*by backbone@5"),
        (["layer1@3", "layer*"], r"layer1@3 thaws nothing after 3 epochs.\n.*by layer\*"),
    ],
)
def test_what_cannot_be_frozen_like_that_is_refused(rules: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        planned(*rules)


def test_frozen_batch_norms_are_in_eval_mode_and_the_rest_trains() -> None:
    model, schedule = planned("layer1@1", "layer2.0.bn1@2")
    set_trainable_(model, schedule.at(0))
    set_train_mode_(model)
    assert not model.layer1.training
    assert not any(module.training for module in model.layer1.modules())
    assert not model.layer2[0].bn1.training
    assert model.layer2[0].bn2.training
    assert model.training
    assert model.fc.training
    set_trainable_(model, schedule.at(1))
    set_train_mode_(model)
    assert all(module.training for module in model.layer1.modules())
    assert not model.layer2[0].bn1.training


def test_kept_batch_statistics_are_the_backbones_only() -> None:
    model = nn.Sequential()
    model.norm = nn.BatchNorm2d(3)
    model.pool = nn.Sequential()
    model.pool.norm = nn.BatchNorm2d(3)
    model.drop = nn.Dropout()
    set_train_mode_(model)
    keep_batch_statistics_(model, ClassifierHead(pooling="pool", classifier="fc"))
    assert not model.norm.training
    assert model.norm.weight.requires_grad
    assert model.pool.norm.training
    assert model.drop.training


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lamb", "lion", "muon", "lookahead_radam"])
def test_no_optimizer_moves_or_remembers_what_is_frozen(opt: str) -> None:
    model, schedule = planned("backbone@1")
    training = TrainingSpec(opt=opt, lr=0.1, weight_decay=0.5)
    groups = plan_parameter_groups(model, find_head(model, InputSpec(size=(32, 32))), training)
    optimizer = build_optimizer(optimizer_groups(model, groups, training.lr), training)
    centralize_gradients(optimizer, on="update")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    set_trainable_(model, schedule.at(0))
    for _ in range(7):  # Lookahead goes back after six
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    parameters = dict(model.named_parameters())
    assert changed(before, {n: p.detach() for n, p in parameters.items()}) == HEAD
    assert {n for n, p in parameters.items() if p.grad is not None} == HEAD
    assert {n for n, p in parameters.items() if optimizer.state.get(p)} <= HEAD


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


class Watcher(Recorder):
    """Keeps the weights after each epoch."""

    def __init__(self, **doing: object) -> None:
        super().__init__(**doing)
        self.weights = []

    def on_epoch(self, record: object) -> None:
        super().on_epoch(record)
        self.weights.append(weights(self.plans[0].directory / "checkpoints/last.pt"))


STAGED = {"epochs": 4, "freeze": ["backbone@1", "layer1.*@3", "layer2.0.conv1"], "model_ema": True}


def test_each_epoch_changes_exactly_what_its_rules_leave(data: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    # Weight decay is large: it must not move what is frozen.
    finetune(make_request(data, tmp_path, weight_decay=0.1, lr=0.01, **STAGED), observer=watcher)
    first, second, third, fourth = watcher.weights
    frozen = {n for n in first if n.startswith("layer1.")}
    never = {"layer2.0.conv1.weight"}
    # Scales next to others that start at zero need more than an epoch to move.
    moves = {n for n in first if ".bn" not in n or "running" in n}
    for before, after in ((first, second), (second, third)):
        assert moves - frozen - never <= changed(before, after) <= first.keys() - frozen - never
    assert moves - never <= changed(third, fourth) <= first.keys() - never
    assert {name.rpartition(".")[2] for name in moves & frozen} > {"weight", "running_mean"}
    thaws = [note for note in watcher.notes if "thaws" in note]
    assert [note.split(",")[0] for note in thaws] == [
        "Epoch 2: backbone thaws",
        "Epoch 4: layer1.* thaws",
    ]


def test_the_first_epoch_trains_the_head_alone(data: Path, tmp_path: Path) -> None:
    one, two = (Watcher() for _ in range(2))
    finetune(make_request(data, tmp_path, epochs=3, freeze_epochs=2), observer=one)
    finetune(make_request(data, tmp_path, epochs=3, freeze=["backbone@2"]), observer=two)
    assert changed(one.weights[0], one.weights[1]) == HEAD
    for first, second in zip(one.weights, two.weights, strict=True):
        assert changed(first, second) == set()


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    return finetune(make_request(data, tmp_path_factory.mktemp("whole"), **STAGED))


@pytest.mark.parametrize("update", [1, 2, 5, 6])
def test_an_interrupted_run_ends_like_the_uninterrupted_one(
    update: int, uninterrupted: FinetuneResult, data: Path, tmp_path: Path
) -> None:
    watcher = Recorder(at_update=update, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, **STAGED), observer=watcher)
    result = resume_finetune(watcher.plans[0].directory)
    states = [
        torch.load(run.directory / "checkpoints/last.pt", weights_only=True)
        for run in (uninterrupted, result)
    ]
    for part in ("model", "model_ema"):
        assert changed(*(state[part] for state in states)) == set()
    buffers = [
        {(key, name): t for key, s in state["optimizer"]["state"].items() for name, t in s.items()}
        for state in states
    ]
    assert changed(*buffers) == set()
    assert buffers[0].keys() == buffers[1].keys()
