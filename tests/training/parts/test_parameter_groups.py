import pytest
import torch
from torch import nn

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs import HeadSpec, InputSpec, ModelSource, TrainingSpec
from covtool.training.parts.head import ClassifierHead, find_head, replace_classifier_
from covtool.training.parts.optimizer import build_optimizer
from covtool.training.parts.parameter_groups import optimizer_groups, plan_parameter_groups
from covtool.training.parts.phases import single_phase
from covtool.training.parts.schedule import Schedule

NAMES = ["test_resnet", "test_convnext", "torchvision:shufflenet_v2_x0_5"]


def network(name="test_resnet", size=32):
    torch.manual_seed(0)
    model = create_model(parse_name(name)[0], num_classes=5)
    return model, find_head(model, InputSpec(size=(size, size)))


def optimizer_of(model, head, training):
    groups = plan_parameter_groups(model, head, training)
    return build_optimizer(optimizer_groups(model, groups, training.lr), training)


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_is_in_exactly_one_group(name):
    model, head = network(name)
    groups = plan_parameter_groups(model, head, TrainingSpec())
    names = [n for group in groups for n in group.names]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())
    assert sum(g.num_parameters for g in groups) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_head_learns_at_a_multiple_of_the_rate(name):
    model, head = network(name)
    groups = plan_parameter_groups(model, head, TrainingSpec(lr=0.02, head_lr_mult=7))
    for group in groups:
        assert group.lr == pytest.approx(0.14 if group.part == "head" else 0.02)
        assert all(head.holds(n) == (group.part == "head") for n in group.names)
    assert {g.part for g in groups} == {"head", "backbone"}


def test_vectors_have_no_weight_decay():
    model, head = network()
    shapes = {n: p.ndim for n, p in model.named_parameters()}
    for group in plan_parameter_groups(model, head, TrainingSpec(weight_decay=0.3)):
        assert {shapes[n] > 1 for n in group.names} == {group.weight_decay == 0.3}


def test_layer_decay_lowers_the_rate_downwards_and_multiplies_the_heads():
    model, head = network("test_convnext")
    training = TrainingSpec(lr=1.0, layer_decay=0.5, head_lr_mult=3)
    groups = plan_parameter_groups(model, head, training)
    rates = {name: g.lr for g in groups for name in g.names}
    assert rates["stem.0.weight"] < rates["stages.1.blocks.0.conv_dw.weight"] < 1
    assert rates[f"{head.classifier}.weight"] == pytest.approx(3.0)


def test_what_a_model_exempts_has_no_weight_decay_whatever_its_shape():
    model, head = network("test_vit", size=160)
    groups = plan_parameter_groups(model, head, TrainingSpec(weight_decay=0.3))
    decays = {name: group.weight_decay for group in groups for name in group.names}
    assert model.pos_embed.ndim == 3
    assert decays["pos_embed"] == decays["cls_token"] == 0
    assert decays["patch_embed.proj.weight"] == 0.3


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_layer_decay_leaves_a_new_pooling_at_the_heads_rate(name, tmp_path):
    asked = ConversionRequest(
        source=ModelSource(name=name, from_scratch=True),
        operations=[HeadSpec(dim=4)],
        output=tmp_path / "a.safetensors",
    )
    model = load(convert(asked).path)
    head = find_head(model, model.recipe.input)
    training = TrainingSpec(lr=1.0, layer_decay=0.5, head_lr_mult=3)
    groups = plan_parameter_groups(model, head, training)
    rates = {name: group.lr for group in groups for name in group.names}
    assert any("reduction" in name for name in rates)
    assert all((rate == 3) == head.holds(name) for name, rate in rates.items())
    assert len(set(rates.values())) > 4


def test_layer_decay_is_refused_where_layers_have_no_order():
    model, head = network("torchvision:shufflenet_v2_x0_5")
    with pytest.raises(ArgumentError, match="--layer-decay needs the order of the layers"):
        plan_parameter_groups(model, head, TrainingSpec(layer_decay=0.5))


@pytest.mark.parametrize("sched", ["cosine", "step", "multistep", "poly", "constant"])
def test_the_heads_rate_stays_the_same_multiple_through_every_schedule(sched):
    model, head = network()
    training = TrainingSpec(epochs=4, sched=sched, decay_milestones=(1, 3), head_lr_mult=5)
    optimizer = optimizer_of(model, head, training)
    schedule = Schedule(optimizer, training, single_phase(training).phases, updates_per_epoch=5)
    for update in range(21):
        schedule.set_updates(update)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(schedule.lr * group["lr_scale"])
        assert schedule.lr <= training.peak_lr * (1 + 1e-12)


def test_the_schedule_warms_up_reaches_lr_and_ends_at_min_lr():
    model, head = network()
    training = TrainingSpec(epochs=4, lr=0.1, warmup_epochs=1, warmup_lr=0.02, min_lr=0.01)
    schedule = Schedule(
        optimizer_of(model, head, training),
        training,
        single_phase(training).phases,
        updates_per_epoch=4,
    )
    rates = []
    for update in range(17):
        schedule.set_updates(update)
        rates.append(schedule.lr)
    assert rates[:4] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_the_rate_depends_on_the_update_only():
    model, head = network()
    training = TrainingSpec(epochs=3)
    schedule = Schedule(
        optimizer_of(model, head, training),
        training,
        single_phase(training).phases,
        updates_per_epoch=4,
    )
    schedule.set_updates(7)
    lr = schedule.lr
    for update in (0, 11, 7):
        schedule.set_updates(update)
    assert schedule.lr == lr


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lamb", "lion", "muon", "lookahead_radam"])
def test_timms_optimizers_are_built_by_name(opt):
    model, head = network()
    assert len(optimizer_of(model, head, TrainingSpec(opt=opt)).param_groups) >= 4


def test_betas_and_momentum_reach_the_optimizer():
    model, head = network()
    training = TrainingSpec(opt="adamw", opt_betas=(0.7, 0.8))
    assert all(g["betas"] == (0.7, 0.8) for g in optimizer_of(model, head, training).param_groups)
    training = TrainingSpec(momentum=0.5)
    assert all(g["momentum"] == 0.5 for g in optimizer_of(model, head, training).param_groups)


def test_an_unknown_optimizer_is_refused_with_a_guess():
    model, head = network()
    with pytest.raises(UnknownVariantError, match=r"optimizer named 'adamx'.*Did you mean"):
        optimizer_of(model, head, TrainingSpec(opt="adamx"))


def test_a_second_order_optimizer_is_refused():
    model, head = network()
    with pytest.raises(ArgumentError, match="'adahessian' needs second derivatives"):
        optimizer_of(model, head, TrainingSpec(opt="adahessian"))


def test_replacing_the_classifier_changes_nothing_else():
    model, head = network()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    replace_classifier_(model, head, 3)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert model.num_classes == 3
    for name, parameter in model.named_parameters():
        assert head.holds(name) or torch.equal(parameter, before[name])


def test_the_pooling_belongs_to_the_head_and_a_prefix_of_its_name_does_not():
    head = ClassifierHead(pooling="pool", classifier="fc")
    assert head.holds("pool.reduction.weight")
    assert head.holds("fc.bias")
    assert not head.holds("fc_norm.weight")
    assert not ClassifierHead(pooling=None, classifier="fc").holds("pool.reduction.weight")


def test_torchvisions_layers_are_found():
    model, head = network("torchvision:shufflenet_v2_x0_5")
    assert isinstance(model.get_submodule(head.classifier), nn.Linear)
