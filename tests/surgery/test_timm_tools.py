"""timm's and torch's own tools on converted models: a converted model is still timm's model."""

import copy
import io
import pickle
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from families import family, some_images
from tolerances import EXACT, FLOAT32, FLOAT32_CHAIN
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import feature_extraction

from covtool.backbones.create import create_model, parse_name
from covtool.backbones.sites import find_sites
from covtool.checkpoints.model_file import load, save
from covtool.checkpoints.opening import open_model
from covtool.errors import ArgumentError, SaveError, SurgeryError
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    Provenance,
    Recipe,
)
from covtool.surgery import apply_head, plan_head
from covtool.surgery.rebuild import operate
from covtool.variants import CONVOLUTIONS, HEADS

TIMM = (
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "test_vit",
    "mobilenetv3_small_050",
    "regnetx_002",
    "densenet121",
)
SLOW = ("swin_tiny_patch4_window7_224",)
FAMILIES = [*TIMM, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
POOLED = [name for name in HEADS.names if name != "gap"]
ALTERNATELY = [(name, (None, "gap")[k % 2]) for k, name in enumerate(POOLED)]
KINDS = list(dict.fromkeys([("gap", None), *ALTERNATELY, ("isqrt", None), ("isqrt", "gap")]))
every_kind = pytest.mark.parametrize(("head", "fuse"), KINDS)
"""Each head, every other one beside the average that it is fused with."""
every_family = pytest.mark.parametrize(
    ("name", "fuse"),
    [
        *((name, (None, "gap")[k % 2]) for k, name in enumerate(TIMM)),
        *(pytest.param(name, "gap", marks=pytest.mark.slow) for name in SLOW),
    ],
)
"""Each family with a head alone or beside the average."""
jit = pytest.mark.filterwarnings("ignore:`torch.jit:", "ignore::torch.jit.TracerWarning")


@cache
def converted(name: str, head: str = "isqrt", fuse: str | None = None) -> nn.Module:
    model, images = family(name)
    sketch = {"sketch_size": 64} if "sketch_size" in HEADS[head].options else {}
    torch.manual_seed(1)
    spec = HeadSpec(head=head, dim=8, fuse=fuse, **sketch)
    return apply_head(model, plan_head(model, spec, images)).eval()


def batch_for(name: str, count: int = 2) -> Tensor:
    return some_images(family(name)[1], count)


def answers(model: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(batch)


def written(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": written,
}


@every_kind
def test_copy_answers_like_the_model_and_shares_nothing(head: str, fuse) -> None:
    model, batch = converted("test_resnet", head, fuse), batch_for("test_resnet")
    expected = answers(model, batch)
    for copied in COPIES.values():
        duplicate = copied(model)
        assert_close(answers(duplicate, batch), expected, **EXACT)
        for parameter in duplicate.parameters():
            nn.init.zeros_(parameter)
        assert_close(answers(model, batch), expected, **EXACT)


@pytest.mark.parametrize("fuse", [None, "gap"])
@pytest.mark.parametrize("name", ["test_vit", "torchvision:mobilenet_v2", "test_convnext"])
def test_copy_of_a_class_that_was_made_on_the_fly_is_of_the_same_class(name: str, fuse) -> None:
    model = converted(name, fuse=fuse)
    for how in COPIES.values():
        duplicate = how(model)
        assert type(duplicate) is type(model)
        assert [type(m) for m in duplicate.modules()] == [type(m) for m in model.modules()]
    assert_close(answers(duplicate, batch_for(name)), answers(model, batch_for(name)), **EXACT)


@every_kind
def test_symbolic_trace_answers_like_the_model(head: str, fuse) -> None:
    model = converted("test_resnet", head, fuse)
    batch = batch_for("test_resnet", 3)
    graph = torch.fx.symbolic_trace(model)
    assert_close(answers(graph, batch), answers(model, batch), **EXACT)


@every_family
def test_feature_extractors_give_the_last_map_and_the_logits(name: str, fuse) -> None:
    original, images = family(name)
    last = find_sites(original, images.size).trunk[-1].path
    model, batch = converted(name, fuse=fuse), batch_for(name)
    nodes = timm.layers.get_graph_node_names(original)[1]
    node = next(n for n in reversed(nodes) if n == last or n.startswith(f"{last}."))
    extractor = timm.layers.create_feature_extractor(model, [node])
    expected = timm.layers.create_feature_extractor(original, [node])
    assert_close(answers(extractor, batch), answers(expected, batch), **EXACT)
    classifier = find_sites(model, images.size).classifier
    logits = answers(timm.layers.create_feature_extractor(model, [classifier]), batch)
    assert_close(logits[classifier], answers(model, batch), **EXACT)


def test_torchvision_s_extractor_and_feature_graph_net_work() -> None:
    batch = batch_for("torchvision:resnet18")
    model = converted("torchvision:resnet18")
    extractor = feature_extraction.create_feature_extractor(model, ["layer3", "avgpool", "fc"])
    found = answers(extractor, batch)
    assert found["avgpool"].shape == (2, 36)
    assert_close(found["fc"], answers(model, batch), **EXACT)
    graph = timm.models.FeatureGraphNet(converted("test_resnet"), out_indices=(1, 2))
    assert len(answers(graph, batch_for("test_resnet"))) == 2


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_fused_head_on_an_earlier_map_is_traced(name: str) -> None:
    model, images = family(name)
    batch = batch_for(name, 3)
    for tap in find_sites(model, images.size).trunk[-3:-1]:
        spec = HeadSpec(dim=8, fuse="gap", tap=tap.path)
        operated = apply_head(model, plan_head(model, spec, images, num_classes=3)).eval()
        graph = torch.fx.symbolic_trace(operated)
        for _ in range(2):
            assert_close(answers(graph, batch), answers(operated, batch), **EXACT)


@jit
@every_kind
def test_jit_trace_answers_like_the_model_for_another_batch(head: str, fuse) -> None:
    model = converted("test_resnet", head, fuse)
    traced = torch.jit.trace(model, batch_for("test_resnet", 2))
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    batch = batch_for("test_resnet", 3)
    reloaded = torch.jit.load(buffer)
    with torch.no_grad():
        assert_close(reloaded(batch), answers(model, batch), **FLOAT32_CHAIN)


@jit
@pytest.mark.parametrize("name", CONVOLUTIONS.names)
def test_network_of_operators_is_traced_and_copied(name: str) -> None:
    original, images = family("test_resnet")
    model = operate(original, ConvolutionSpec(conv=name), images, num_classes=11).eval()
    batch = batch_for("test_resnet", 3)
    traced = torch.jit.trace(model, batch_for("test_resnet", 2))
    graphs = (torch.fx.symbolic_trace(model), timm.layers.create_feature_extractor(model, ["fc"]))
    with torch.no_grad():
        expected = model(batch)
        assert_close(traced(batch), expected, **FLOAT32_CHAIN)
        assert_close(graphs[0](batch), expected, **EXACT)
        assert_close(graphs[1](batch)["fc"], expected, **EXACT)
        for how in COPIES.values():
            assert_close(how(model)(batch), expected, **EXACT)


@pytest.mark.parametrize("head", [None, "isqrt"])
def test_reset_classifier_takes_the_place_of_an_eigenlayer_too(head: str | None) -> None:
    original, images = family("test_resnet")
    model = original if head is None else converted("test_resnet", head)
    model = operate(model, EigenlayerSpec(features=6), images, num_classes=11)
    model.reset_classifier(7)
    assert answers(model, batch_for("test_resnet")).shape == (2, 7)
    assert isinstance(model.get_classifier(), nn.Linear)


@jit
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "torchvision:mobilenet_v2"])
def test_jit_trace_works_for_networks_with_a_slot(name: str) -> None:
    model = converted(name, "mpn")
    traced = torch.jit.trace(model, batch_for(name, 2))
    batch = batch_for(name, 3)
    with torch.no_grad():
        assert_close(traced(batch), answers(model, batch), **FLOAT32_CHAIN)


@every_kind
def test_reset_classifier_keeps_the_pooling_of_every_head(head: str, fuse) -> None:
    model = copy.deepcopy(converted("test_resnet", head, fuse)).train()
    batch = batch_for("test_resnet")
    model.reset_classifier(0)
    pooled = answers(model, batch)
    assert pooled.shape == (2, model.head_hidden_size)
    model.train().reset_classifier(7)
    assert answers(model, batch).shape == (2, 7)
    assert model.num_classes == model.get_classifier().out_features == 7
    expected = nn.functional.linear(pooled, model.fc.weight, model.fc.bias)
    assert_close(answers(model, batch), expected, **FLOAT32)


@every_family
def test_reset_classifier_gives_timm_s_pooling_back(name: str, fuse) -> None:
    model, batch = copy.deepcopy(converted(name, fuse=fuse)), batch_for(name)
    model.reset_classifier(6, "avg")
    assert answers(model, batch).shape == (2, 6)
    assert model.get_classifier().out_features == model.num_classes == 6
    model.reset_classifier(5)
    assert answers(model, batch).shape == (2, 5)
    model.reset_classifier(0, "avg")
    assert answers(model, batch).shape == (2, model.head_hidden_size)
    assert not hasattr(model, "covtool_head") or fuse is None


@pytest.mark.parametrize("name", FAMILIES)
def test_average_that_comes_back_is_that_of_the_features(name: str) -> None:
    model, batch = copy.deepcopy(converted(name)).eval(), batch_for(name)
    model.reset_classifier(0, "avg")
    with torch.no_grad():
        features = model.forward_features(batch)
    if features.ndim == 3:
        expected = features[:, model.num_prefix_tokens :].mean(dim=1)
    else:
        dims = (1, 2) if features.shape[-1] == model.num_features else (2, 3)
        expected = features.mean(dim=dims)
    assert_close(answers(model, batch), expected, **FLOAT32)
    model.reset_classifier(0, "")
    assert answers(model, batch).shape == features.shape


@pytest.mark.parametrize(
    ("name", "asked", "error", "message"),
    [
        ("test_resnet", (3, ""), SurgeryError, "pooled features"),
        ("test_resnet", (3, "token"), ArgumentError, "no pooling 'token'"),
        ("test_vit", (3, "catavgmax"), ArgumentError, "no pooling 'catavgmax'"),
    ],
)
def test_pooling_that_timm_has_not_is_refused(name: str, asked, error, message: str) -> None:
    with pytest.raises(error, match=message):
        copy.deepcopy(converted(name)).reset_classifier(*asked)


def test_reset_classifier_of_a_vit_that_was_only_opened_changes_its_pooling() -> None:
    model = create_model(parse_name("test_vit")[0], num_classes=4)
    batch = batch_for("test_vit")
    model.reset_classifier(0, "avg")
    with torch.no_grad():
        expected = model.forward_features(batch)[:, 1:].mean(dim=1)
    assert_close(answers(model, batch), expected, **FLOAT32)


RECIPE_INPUT = InputSpec(
    size=(64, 96),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.1),
    interpolation="lanczos",
    crop_pct=0.9,
    crop_mode="squash",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    base, _ = parse_name("test_resnet")
    original = create_model(base, num_classes=4)
    plan = plan_head(original, HeadSpec(dim=8), RECIPE_INPUT)
    model = apply_head(original, plan)
    model.recipe = Recipe(
        base=base,
        operations=(plan.spec,),
        num_classes=4,
        class_names=("ant", "bee", "cat", "dog"),
        input=RECIPE_INPUT,
        provenance=Provenance(covtool_version="0"),
    )
    return save(model, tmp_path / "model.safetensors")


def test_timm_s_data_configuration_is_that_of_the_recipe(file: Path) -> None:
    for model in (load(file), open_model(file).model):
        for use_test_size in (False, True):
            config = timm.data.resolve_model_data_config(model, use_test_size=use_test_size)
            assert config["input_size"] == (3, 64, 96)
            assert (config["mean"], config["std"]) == (RECIPE_INPUT.mean, RECIPE_INPUT.std)
            assert config["interpolation"] == "lanczos"
            assert (config["crop_pct"], config["crop_mode"]) == (0.9, "squash")
        assert model.pretrained_cfg["label_names"] == ["ant", "bee", "cat", "dog"]
        assert model.default_cfg["num_classes"] == 4


def test_overridden_images_and_gray_ones_are_in_the_configuration(file: Path) -> None:
    model = open_model(file, input={"size": (96, 96)}).model
    assert timm.data.resolve_data_config(model=model)["input_size"] == (3, 96, 96)
    other = open_model("torchvision:resnet18", from_scratch=True, input={"mean": (0.5,)})
    assert timm.data.resolve_data_config(model=other.model)["mean"] == (0.5, 0.5, 0.5)


def test_recipe_follows_reset_classifier_or_is_gone(file: Path, tmp_path: Path) -> None:
    model = load(file)
    model.reset_classifier(9)
    assert (model.recipe.num_classes, model.recipe.class_names) == (9, None)
    reloaded = load(save(model, tmp_path / "nine.safetensors"))
    batch = torch.rand(2, 3, 64, 96)
    assert_close(answers(reloaded, batch), answers(model, batch), **EXACT)
    model.reset_classifier(9, "avg")
    with pytest.raises(SaveError, match="no recipe"):
        save(model, tmp_path / "avg.safetensors")


AVERAGED = {"test_vit2": 160, "test_byobnet": 96}


def averaged(name: str) -> tuple[nn.Module, InputSpec]:
    if name not in AVERAGED:
        return family(name)
    model = create_model(parse_name(name)[0], num_classes=11)
    return model, InputSpec(size=(AVERAGED[name], AVERAGED[name]))


@pytest.mark.parametrize(
    "name", [*(n for n in FAMILIES if n != "test_vit"), *AVERAGED, "torchvision:convnext_tiny"]
)
def test_gap_head_keeps_the_network_s_structure(name: str) -> None:
    model, images = averaged(name)
    kept = apply_head(model, plan_head(model, HeadSpec(head="gap"), images)).eval()
    batch = some_images(images)
    assert_close(answers(kept, batch), answers(model, batch), **EXACT)
    plan = plan_head(model, HeadSpec(head="gap"), images, num_classes=5)
    operated = apply_head(model, plan).eval()
    assert plan.spec.own_average
    assert not plan.keeps_classifier
    library = create_model(parse_name(name)[0], num_classes=5)
    library.load_state_dict(operated.state_dict(), strict=True)
    assert_close(answers(library, batch), answers(operated, batch), **EXACT)


def test_gap_head_of_a_vit_with_a_class_token_is_timm_s_with_averaged_tokens() -> None:
    model, images = family("test_vit")
    plan = plan_head(model, HeadSpec(head="gap"), images)
    assert not plan.keeps_classifier
    operated = apply_head(model, plan)
    library = timm.create_model("test_vit", num_classes=11, global_pool="avg", fc_norm=False)
    library.load_state_dict(operated.state_dict(), strict=True)
    batch = some_images(images)
    assert_close(answers(library, batch), answers(operated, batch), **FLOAT32)


def test_gap_head_that_an_older_version_recorded_has_none_of_the_later_layers() -> None:
    model, images = family("test_convnext")
    tap = find_sites(model, images.size).trunk[-1].path
    recorded = HeadSpec(head="gap", reduction="none", tap=tap)
    plan = plan_head(model, recorded, images, recorded=True)
    assert "head.norm" in plan.bypassed
    assert "head.norm.weight" not in apply_head(model, plan).state_dict()
