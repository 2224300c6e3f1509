"""One head over several feature maps: each map is pooled as it is, and the vectors are joined."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from families import FAMILIES, family, lively_, some_images
from operation_cases import IMAGES
from tolerances import EXACT, FLOAT32, FLOAT32_CHAIN
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.backbones.sites import Sites, find_sites
from covtool.checkpoints.model_file import load, save
from covtool.errors import SurgeryError, UnknownVariantError
from covtool.layers import ConvOperator, CovariancePooling, JointPooling
from covtool.ops.ridge import fit_ridge, mistakes
from covtool.specs import ConvolutionSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery import (
    apply_head,
    branches_of,
    calibrate_head_,
    plan_head,
    pooling_of,
)
from covtool.surgery.rebuild import operate
from covtool.variants import HEADS

QUICK = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "torchvision:resnet18")
ONE_MAP = "torchvision:vit_b_16"  # its encoder is one module
SLOW = [n for n in FAMILIES if n not in (*QUICK, ONE_MAP)]
PARAMETERS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
FUSED = [None, "gap"]
POOLED = [(name, fuse) for name in HEADS.names for fuse in FUSED if not (fuse and name == "gap")]


def spec(name: str = "isqrt", **changes: object) -> HeadSpec:
    sketch = {"sketch_size": 64} if "sketch_size" in HEADS[name].options else {}
    return HeadSpec(**{"head": name, "dim": 8, **sketch, **changes})


def pair_of(sites: Sites) -> tuple[str, str]:
    """Two maps that differ in size or layout where the network has such."""
    maps = [m for m in sites.trunk if m.positions > 1 and m.channels >= 8]
    last = maps[-1]
    others = [m for m in maps[:-1] if (m.channels, m.layout) != (last.channels, last.layout)]
    return (others or maps[:-1])[-1].path, last.path


def operated(network: str, head: str = "isqrt", **changes: object):
    model, images = family(network)
    taps = changes.pop("tap", None) or pair_of(find_sites(model, images.size))
    torch.manual_seed(1)
    plan = plan_head(model, spec(head, tap=taps, **changes), images, num_classes=3)
    return apply_head(model, plan).eval(), plan


def answers(model: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(batch)


def pooled(model: nn.Module, plan, batch: Tensor) -> Tensor:
    """What enters the classifier."""
    seen: list[Tensor] = []
    classifier = model.get_submodule(plan.sites.classifier)
    handle = classifier.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    answers(model, batch)
    handle.remove()
    return seen[0]


def maps_of(model: nn.Module, paths: tuple[str, ...], batch: Tensor) -> list[Tensor]:
    """Copies of the outputs of some modules, before anything works on them in place."""
    seen: dict[str, Tensor] = {}

    def keep(path: str):
        return lambda module, given, output: seen.update({path: output.clone()})

    handles = [model.get_submodule(p).register_forward_hook(keep(p)) for p in paths]
    answers(model, batch)
    for handle in handles:
        handle.remove()
    return [seen[path] for path in paths]


@pytest.mark.parametrize("fuse", FUSED)
@pytest.mark.parametrize("name", PARAMETERS)
def test_joint_vector_is_that_of_each_map_pooled_alone(name: str, fuse: str | None) -> None:
    model, plan = operated(name, fuse=fuse)
    original, images = family(name)
    batch = some_images(images)
    found = pooled(model, plan, batch)
    vectors = []
    for tap, branch in zip(plan.taps, branches_of(model, plan), strict=True):
        # Each of them alone, as a head of one tap, with the same reduction.
        # DenseNet has a ReLU in its own code, behind its modules: beside the network's average a
        # map is caught before it, as here.
        beside = "gap" if name == "torchvision:densenet121" else None
        alone = plan_head(original, spec(tap=tap.path, fuse=beside), images, num_classes=3)
        single = apply_head(original, alone).eval()
        pooling_of(single, alone).load_state_dict(branch.state_dict())
        vectors.append(pooled(single, alone, batch)[:, -alone.pooled_features :])
    assert len(vectors) == 2
    assert_close(found[:, -plan.pooled_features :], torch.cat(vectors, dim=1), **FLOAT32)


@pytest.mark.parametrize("name", PARAMETERS)
def test_fused_joint_head_keeps_every_logit_and_tensor(name: str) -> None:
    model, images = family(name)
    taps = pair_of(find_sites(model, images.size))
    fused = apply_head(model, plan_head(model, spec(tap=taps, fuse="gap"), images)).eval()
    batch = some_images(images)
    assert_close(answers(fused, batch), answers(model, batch), **FLOAT32)
    before, after = model.state_dict(), fused.state_dict()
    assert set(before) <= set(after)


@pytest.mark.parametrize(("name", "fuse"), POOLED)
def test_every_head_over_two_maps_trains_both_branches(name: str, fuse: str | None) -> None:
    for network in ("test_resnet", "test_vit"):
        model, images = family(network)
        taps = pair_of(find_sites(model, images.size))
        reduction = "linear" if HEADS[name].second_order else "none"
        plan = plan_head(model, spec(name, tap=taps, fuse=fuse, reduction=reduction), images)
        joint = apply_head(lively_(copy.deepcopy(model)), plan).train()
        nn.init.normal_(joint.get_submodule(plan.sites.classifier).weight, std=0.1)
        before = {n: p.detach().clone() for n, p in joint.named_parameters()}
        optimizer = torch.optim.SGD(joint.parameters(), lr=0.1)
        joint(some_images(images, 4)).logsumexp(dim=1).sum().backward()
        optimizer.step()
        for prefix, branch in zip(("0", "1"), branches_of(joint, plan), strict=True):
            moved = [n for n, p in branch.named_parameters() if p.grad.any()]
            assert moved or not list(branch.parameters()), prefix
        # What is before the first tap learns from both, what is between the taps from the last.
        for tap in plan.taps:
            last = list(joint.get_submodule(tap.path).named_parameters(tap.path))[-1][0]
            assert not torch.equal(dict(joint.named_parameters())[last], before[last]), tap.path


@pytest.mark.parametrize("first", [0, 1])
def test_gradient_of_the_trunk_is_the_sum_of_both_branches(first: int) -> None:
    """With one branch's part of the classifier at zero, the other alone teaches the trunk."""
    model, plan = operated("test_resnet")
    branches = branches_of(lively_(model), plan)
    width = branches[0].num_features
    with torch.no_grad():
        own = slice(0, width) if first == 0 else slice(width, None)
        model.get_submodule(plan.sites.classifier).weight[:, own] = 0
    model.train()(some_images(family("test_resnet")[1], 4)).square().sum().backward()
    silent, heard = branches[first], branches[1 - first]
    assert not silent.reduction.conv.weight.grad.any()
    assert heard.reduction.conv.weight.grad.any()
    assert model.get_submodule(plan.taps[0].path).conv1.weight.grad.any()


@pytest.mark.parametrize("fuse", FUSED)
@pytest.mark.parametrize("name", HEADS.names)
def test_saved_file_answers_like_the_model(name: str, fuse: str | None, tmp_path: Path) -> None:
    if fuse and name == "gap":
        pytest.skip("the average beside itself")
    model, plan = operated("test_resnet", name, fuse=fuse)
    lively_(model)
    model.recipe = Recipe(
        base=parse_name("test_resnet")[0],
        operations=(plan.spec,),
        num_classes=3,
        input=family("test_resnet")[1],
        provenance=Provenance(covtool_version="0"),
    )
    torch.manual_seed(7)  # what loading draws at random must not matter
    reloaded = load(save(model, tmp_path / "model.safetensors"))
    assert reloaded.recipe.operations[0].tap == plan.spec.tap
    batch = some_images(family("test_resnet")[1])
    assert_close(answers(reloaded, batch), answers(model, batch), **EXACT)


@pytest.mark.parametrize("fuse", FUSED)
def test_three_maps_are_joined_in_the_order_of_their_names(fuse: str | None) -> None:
    order = ("layer4", "layer2", "layer3")
    model, plan = operated("test_resnet", tap=order, fuse=fuse)
    assert [tap.path for tap in plan.taps] == ["layer4.0", "layer2.0", "layer3.0"]
    assert plan.tap.path == "layer4.0"
    assert plan.spec.tap == tuple(tap.path for tap in plan.taps)
    batch = some_images(family("test_resnet")[1])
    maps = maps_of(family("test_resnet")[0], plan.spec.tap, batch)
    with torch.no_grad():
        parts = [b(m) for b, m in zip(branches_of(model, plan), maps, strict=True)]
    found = pooled(model, plan, batch)[:, -plan.pooled_features :]
    assert_close(found, torch.cat(parts, dim=1), **FLOAT32)


def test_map_is_pooled_as_it_was_before_the_next_module_works_in_place() -> None:
    model, images = family("torchvision:vgg11")
    # A convolution, whose ReLU writes over its output.
    taps = ("features.18", "features.20")
    assert model.features[19].inplace
    batch = some_images(images)
    for fuse in FUSED:
        joint, plan = operated("torchvision:vgg11", tap=taps, fuse=fuse, reduction="linear")
        maps = maps_of(model, taps, batch)
        assert (maps[0] < 0).any()
        with torch.no_grad():
            parts = [b(m) for b, m in zip(branches_of(joint, plan), maps, strict=True)]
        found = pooled(joint, plan, batch)[:, -plan.pooled_features :]
        assert_close(found[:, :36], parts[0], **FLOAT32)
        joint.train()(batch).sum().backward()  # and what autograd keeps is not written over


def test_tensors_of_one_tap_keep_their_names_and_the_recipe_its_text() -> None:
    model, images = family("test_resnet")
    plan = plan_head(model, spec(tap=["layer3"]), images)
    assert plan.spec.tap == "layer3.0"
    assert '"tap":"layer3.0"' in plan.spec.model_dump_json()
    names = {n for n in apply_head(model, plan).state_dict() if "reduction" in n}
    assert f"{plan.sites.pooling}.reduction.conv.weight" in names
    joint, plan = operated("test_resnet")
    assert isinstance(pooling_of(joint, plan), JointPooling)
    names = {n for n in joint.state_dict() if n.endswith("reduction.conv.weight")}
    assert names == {
        f"{plan.sites.pooling}.branches.{index}.reduction.conv.weight" for index in (0, 1)
    }


@pytest.mark.parametrize("reduction", ["linear", "conv-bn-relu"])
@pytest.mark.parametrize("fuse", FUSED)
def test_calibration_sets_a_reduction_for_each_tap_and_one_ridge(
    fuse: str | None, reduction: str
) -> None:
    torch.manual_seed(0)
    network = create_model(parse_name("test_resnet")[0], num_classes=10)
    taps = ("layer3", "layer4")
    wanted = spec(tap=taps, fuse=fuse, reduction=reduction, post_norm="batchnorm")
    plan = plan_head(network, wanted, IMAGES, num_classes=2, new_classes=True)
    model = apply_head(network, plan).eval()
    labels = torch.tensor([0, 1] * 9)
    images = torch.rand(18, 3, *IMAGES.size, generator=torch.Generator().manual_seed(1))
    images[labels == 1, :, ::2] *= 0.2
    batches = list(zip(images.split(5), labels.split(5), strict=True))
    done = calibrate_head_(model, plan, batches, num_images=18)
    maps = maps_of(network, plan.spec.tap, images)
    shares = []
    for branch, features in zip(branches_of(model, plan), maps, strict=True):
        rows = features.double().movedim(1, -1).flatten(0, -2)
        values, vectors = torch.linalg.eigh(torch.cov(rows.mT, correction=0))
        weight = branch.reduction.conv.weight[:, :, 0, 0].detach().double()
        alignment = (weight @ vectors.flip(1)[:, :8]).abs()
        assert_close(alignment, torch.eye(8, dtype=torch.float64), rtol=0, atol=2e-3)
        shares.append(100 * (values[-8:].sum() / values.sum()).item())
    assert done.explained_variances == pytest.approx(shares, rel=1e-3)
    assert done.explained_variance == min(done.explained_variances)
    features = pooled(model, plan, images)
    own = features[:, -plan.pooled_features :]
    assert_close(own.mean(dim=0), torch.zeros(plan.pooled_features), rtol=0, atol=1e-2)
    fit = fit_ridge(features, nn.functional.one_hot(labels), loss=mistakes)
    classifier = model.get_submodule(plan.sites.classifier)
    assert classifier.in_features == plan.in_features == features.shape[1]
    expected = (done.temperature * fit.weight).float()
    assert_close(classifier.weight.detach(), expected, rtol=1e-2, atol=1e-4)
    right = fit.left_out.argmax(dim=1) == labels
    assert done.left_out_top_1 == pytest.approx(100 * right.double().mean().item())


@pytest.mark.parametrize("fuse", FUSED)
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "torchvision:mobilenet_v2"])
def test_copies_share_nothing_and_their_hooks_are_their_own(name: str, fuse: str | None) -> None:
    model, _ = operated(name, fuse=fuse)
    batch = some_images(family(name)[1])
    expected = answers(model, batch)
    duplicate = copy.deepcopy(model)
    for parameter in duplicate.parameters():
        nn.init.zeros_(parameter)
    answers(duplicate, batch)
    assert_close(answers(model, batch), expected, **EXACT)


@pytest.mark.parametrize(("name", "fuse"), [("test_resnet", None), ("test_vit", "gap")])
def test_joint_head_compiles_without_a_graph_break(name: str, fuse: str | None) -> None:
    model, _ = operated(name, fuse=fuse)
    batch = some_images(family(name)[1])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(answers(compiled, batch), answers(model, batch), **FLOAT32_CHAIN)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tap": ("layer3", "layer3")}, "--tap layer3 is there twice"),
        ({"tap": ("layer3", "layer3.0")}, "layer3 and --tap layer3.0 are the same map"),
        ({"tap": ("layer3", "layer9")}, "no feature map named 'layer9'"),
        ({"tap": ("layer2", "layer4"), "dim": 80}, "--dim 80 is more than the .* of 'layer2.0'"),
        ({"head": "gap", "tap": ("layer3", "layer4"), "fuse": "gap"}, "is the average itself"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict, message: str) -> None:
    model, images = family("test_resnet")
    with pytest.raises((SurgeryError, UnknownVariantError), match=message):
        plan_head(model, HeadSpec(**{"dim": 8, **asked}), images)


def test_map_of_one_position_among_several_is_refused() -> None:
    model, _ = family("test_resnet")
    with pytest.raises(SurgeryError, match=r"'layer4\.0' has one position"):
        plan_head(model, spec(tap=("layer4", "layer2")), InputSpec(size=(16, 16)))


def test_module_that_runs_twice_is_refused_among_several() -> None:
    original, images = family("test_resnet")
    model, shared = copy.deepcopy(original), nn.ReLU()
    model.layer2 = nn.Sequential(model.layer2, shared)
    model.layer3 = nn.Sequential(model.layer3, shared)
    with pytest.raises(SurgeryError, match=r"'layer2\.1' runs 2 times in a forward pass"):
        plan_head(model, spec(tap=("layer2.1", "layer4")), images)


@pytest.mark.parametrize("fuse", FUSED)
def test_second_head_is_refused(fuse: str | None) -> None:
    model, _ = operated("test_resnet", fuse=fuse)
    with pytest.raises(SurgeryError, match="is a covtool head already"):
        plan_head(model, spec(), family("test_resnet")[1])


def test_modules_after_the_last_tap_do_nothing_and_those_between_go_on() -> None:
    model, plan = operated("test_resnet", tap=("layer3", "layer2"))
    assert plan.tap.path == "layer3.0"
    assert isinstance(model.get_submodule("layer4.0"), nn.Identity)
    assert not isinstance(model.get_submodule("layer3.0"), nn.Identity)
    assert all(isinstance(b, CovariancePooling) for b in branches_of(model, plan))


@pytest.mark.parametrize("fuse", FUSED)
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_joint_head_is_traced(name: str, fuse: str | None) -> None:
    model, _ = operated(name, fuse=fuse)
    batch = some_images(family(name)[1], 3)
    graph = torch.fx.symbolic_trace(model)
    for _ in range(2):
        assert_close(answers(graph, batch), answers(model, batch), **EXACT)


@pytest.mark.parametrize("fuse", FUSED)
def test_joint_head_is_pickled(fuse: str | None) -> None:
    model, _ = operated("test_resnet", fuse=fuse)
    images = family("test_resnet")[1]
    duplicate, batch = pickle.loads(pickle.dumps(model)), some_images(images, 3)
    assert_close(answers(duplicate, batch), answers(model, batch), **EXACT)


@pytest.mark.parametrize("fuse", FUSED)
def test_reset_classifier_leaves_no_hook_behind(fuse: str | None) -> None:
    model, plan = operated("test_resnet", fuse=fuse)
    batch = some_images(family("test_resnet")[1])
    model.reset_classifier(0)
    assert answers(model, batch).shape == (2, plan.in_features)
    model.reset_classifier(6, "avg")
    assert answers(model, batch).shape == (2, 6)
    assert not any(module._forward_hooks for module in model.modules())


def test_map_that_did_not_run_is_not_made_up() -> None:
    model, plan = operated("test_resnet")
    with torch.no_grad(), pytest.raises(RuntimeError, match="did not run before the pooling"):
        model.forward_head(torch.zeros(1, plan.tap.channels, 3, 3))


@pytest.mark.parametrize("fuse", FUSED)
def test_tapped_convolution_that_becomes_an_operator_is_still_tapped(fuse: str | None) -> None:
    model, plan = operated("torchvision:vgg11", tap=("features.16", "features.18"), fuse=fuse)
    images = family("torchvision:vgg11")[1]
    wanted = ConvolutionSpec(conv="weight-standardized", target=("features.16",))
    changed = operate(model, wanted, images, num_classes=3).eval()
    operator = changed.get_submodule("features.16")
    assert isinstance(operator, ConvOperator)
    batch = some_images(images)
    (features,) = maps_of(changed, ("features.16",), batch)
    with torch.no_grad():
        part = branches_of(changed, plan)[0](features)
    start = -plan.pooled_features
    found = pooled(changed, plan, batch)[:, start : start + part.shape[1]]
    assert_close(found, part, **FLOAT32)
