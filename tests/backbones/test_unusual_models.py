"""Models whose code has something of its own: each tripped the search for sites or the surgery."""

from importlib import import_module

import pytest
import torch
from families import lively_, some_images
from tolerances import EXACT
from torch import nn
from torch.testing import assert_close

from covtool.backbones.convolutions import find_convolutions
from covtool.backbones.create import create_model
from covtool.backbones.feature_maps import MapReader
from covtool.backbones.sites import find_sites
from covtool.backbones.slots import install_pooling_slot
from covtool.checkpoints.model_file import load, save
from covtool.checkpoints.opening import open_model
from covtool.specs import BaseSpec, HeadSpec, InputSpec
from covtool.surgery import apply_head, plan_head
from covtool.surgery.report import measure_size

# timm.models exports functions under the names of these modules.
cait, lowformer, nest, pit, rdnet = (
    import_module(f"timm.models.{name}") for name in ("cait", "lowformer", "nest", "pit", "rdnet")
)

TINY = {
    "nest": lambda **fixed: nest.Nest(
        embed_dims=(8, 16, 32), num_heads=(1, 2, 2), depths=(1, 1, 1), **fixed
    ),
    "lowformer": lambda **fixed: lowformer.LowFormer(
        width_list=[8, 8, 16, 16, 32], depth_list=[0, 1, 1, 1, 1], head_widths=(24, 20), **fixed
    ),
    "rdnet": lambda **fixed: rdnet.RDNet(
        num_init_features=16, growth_rates=[8] * 7, num_blocks_list=[1] * 7, **fixed
    ),
    "cait": lambda **fixed: cait.Cait(embed_dim=16, depth=1, num_heads=2, **fixed),
    "pit": lambda **fixed: pit.PoolingVisionTransformer(
        base_dims=[8, 8, 8], depth=[1, 1, 1], **fixed
    ),
}
SIZES = {"nest": 224, "lowformer": 96, "rdnet": 96, "cait": 224, "pit": 224}


def tiny(name: str) -> tuple[nn.Module, InputSpec]:
    torch.manual_seed(0)
    model = install_pooling_slot(TINY[name](num_classes=5)).eval()
    return lively_(model), InputSpec(size=(SIZES[name], SIZES[name]))


@pytest.mark.parametrize(
    ("name", "stem"), [("cait", "patch_embed.proj"), ("rdnet", "stem"), ("pit", "patch_embed.conv")]
)
def test_the_stem_is_found_however_timm_groups_the_parameters(name: str, stem: str) -> None:
    model, images = tiny(name)
    found = find_convolutions(model, images.size, images.channels)
    stems = [site.path for site in found if site.role == "stem"]
    assert stems
    assert all(path.startswith(stem) for path in stems)


def test_the_stem_is_what_a_function_puts_into_the_first_layer() -> None:
    class Grouped(nn.Sequential):
        def group_matcher(self, coarse: bool = False):
            return lambda name: 0 if name.startswith(("0", "1")) else 1

    model = Grouped(*(nn.Conv2d(3, 3, 1) for _ in range(3)))
    roles = [site.role for site in find_convolutions(model, (4, 4), 3)]
    assert roles == ["stem", "stem", "body"]


def test_the_average_with_the_old_classifier_answers_as_before() -> None:
    """NesT permutes its map around its norm, whose output is not what the pooling is given."""
    model, images = tiny("nest")
    operated = apply_head(model, plan_head(model, HeadSpec(head="gap"), images)).eval()
    path = find_sites(model, images.size).classifier
    operated.get_submodule(path).load_state_dict(model.get_submodule(path).state_dict())
    batch = some_images(images)
    with torch.no_grad():
        assert_close(operated(batch), model.eval()(batch))


@pytest.mark.parametrize("name", ["nest", "lowformer", "rdnet"])
def test_every_tap_is_pooled_over_its_positions(name: str) -> None:
    model, images = tiny(name)
    for tap in find_sites(model, images.size).taps:
        for fuse in (None, "gap"):
            spec = HeadSpec(head="isqrt", dim=4, tap=tap.path, fuse=fuse)
            plan = plan_head(model, spec, images)
            operated = apply_head(model, plan).eval()
            with torch.no_grad():  # a wrong axis does not fit the reduction
                assert operated(some_images(images)).shape == (2, 5)


def test_parameters_that_are_given_to_a_module_can_be_counted_with_the_rest() -> None:
    model, images = tiny("pit")
    assert measure_size(model, images).flops > 0
    assert all(weight.requires_grad for weight in model.parameters())


def test_weights_without_the_versions_of_their_modules_are_loaded(tmp_path) -> None:
    torch.manual_seed(0)
    base = BaseSpec(library="torchvision", name="mnasnet0_5")
    model = create_model(base, num_classes=5)
    torch.save(dict(model.state_dict()), tmp_path / "mnasnet0_5.pth")
    opened = open_model(tmp_path / "mnasnet0_5.pth")
    again = load(save(opened.model, tmp_path / "own.safetensors"))
    images = some_images(InputSpec(size=(64, 64)))
    with torch.no_grad():
        assert_close(opened.model(images), model(images), **EXACT)
        assert_close(again(images), model(images), **EXACT)


@pytest.mark.parametrize(
    ("size", "shape", "layout"),
    [
        ((224, 224), (1, 7, 7, 96), "NHWC"),
        ((224, 224), (1, 96, 7, 7), "NCHW"),
        ((224, 224), (1, 7, 7, 7), "NCHW"),
        ((256, 128), (1, 8, 4, 96), "NHWC"),
        ((256, 128), (1, 16, 8, 4), "NCHW"),
        ((200, 130), (1, 7, 5, 96), "NHWC"),
        ((200, 130), (1, 96, 7, 5), "NCHW"),
    ],
)
def test_the_ratio_of_the_image_tells_positions_from_features(
    size: tuple[int, int], shape: tuple[int, ...], layout: str
) -> None:
    reader = MapReader(size, 0)
    assert reader.layout(shape) == layout
    assert reader.positions(shape) == (
        shape[1] * shape[2] if layout == "NHWC" else shape[2] * shape[3]
    )
