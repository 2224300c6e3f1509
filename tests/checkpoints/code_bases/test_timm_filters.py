"""timm's own conversions are found, tried, and taken only where they lose nothing."""

import re

import pytest
import timm
import torch
from code_base_layouts import sub

from covtool.backbones.checkpoint_filters import filter_module, filtered_checkpoint
from covtool.checkpoints.code_bases import timm_arguments, timm_candidates, timm_filtered


def meta_convnext(state):
    return sub(
        state,
        (r"^stem\.(\d)", r"downsample_layers.0.\1"),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )


def microsoft_swin(state):
    earlier = (r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample")
    return sub(state, earlier, (r"^head\.fc", "head"))


def meta_dinov2(state):
    return {**state, "mask_token": torch.zeros(1, 384)}


def original_pvt(state):
    def stage(match: re.Match) -> str:
        kinds = {"downsample": "patch_embed", "blocks": "block", "norm": "norm"}
        return f"{kinds[match[2]]}{int(match[1]) + 1}."

    return sub(
        state,
        (r"^patch_embed\.", "patch_embed1."),
        (r"^stages\.(\d)\.(downsample|blocks|norm)\.", stage),
        (r"mlp\.dwconv\.", "mlp.dwconv.dwconv."),
    )


def meta(name):
    with torch.device("meta"):
        return timm.create_model(name).state_dict()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("convnext_tiny", meta_convnext),
        ("swin_tiny_patch4_window7_224", microsoft_swin),
        ("vit_small_patch14_dinov2", meta_dinov2),
        ("pvt_v2_b0", original_pvt),
    ],
)
def test_the_conversion_of_the_right_network_is_the_first_candidate(name, write):
    state = meta(name)
    tensors = write(state)
    before = list(tensors)
    _, found = next(timm_candidates(tensors))
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in state.items()}
    assert list(tensors) == before


def test_a_converted_file_computes_the_same():
    model = timm.create_model("convnext_atto", num_classes=5).eval()
    found = timm_filtered(meta_convnext(model.state_dict()), "convnext_atto.d2_in1k")
    fresh = timm.create_model("convnext_atto", num_classes=5).eval()
    fresh.load_state_dict(found, strict=True)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fresh(image), model(image))


def test_an_architecture_that_is_told_comes_first():
    tensors = meta_convnext(meta("convnext_tiny"))
    names = (name for name, _ in timm_candidates(tensors, ("convnext_small.fb_in1k",)))
    assert [next(names), next(names)] == ["convnext_small", "convnext_tiny"]


def test_a_native_file_is_not_converted():
    assert (
        timm_filtered(meta("swin_tiny_patch4_window7_224"), "swin_tiny_patch4_window7_224") is None
    )


@pytest.mark.parametrize("name", ["resnet18", "nextvit_small", "no_such_network"])
def test_without_a_conversion_nothing_is_converted(name):
    assert filter_module(name) is None
    assert filtered_checkpoint(name, {}) is None


def test_a_conversion_that_fails_gives_nothing():
    assert timm_filtered({"stages.0.0.pwconv1.weight": torch.zeros(2, 2)}, "convnext_tiny") is None


def test_a_bias_that_is_not_zero_is_not_dropped():
    def tensors(value: float) -> dict[str, torch.Tensor]:
        state = {n: torch.zeros(t.shape) for n, t in meta("vit_small_patch16_dinov3").items()}
        state["storage_tokens"] = state.pop("reg_token")
        bias = {f"blocks.{n}.attn.qkv.bias": torch.full((1152,), value) for n in range(12)}
        return state | bias

    assert timm_filtered(tensors(0.0), "vit_small_patch16_dinov3") is not None
    assert timm_filtered(tensors(1.0), "vit_small_patch16_dinov3") is None
    assert timm_filtered(tensors(1.0), "vit_small_patch16_dinov3_qkvb") is not None


def test_meta_s_dinov3_is_read_at_its_class_token():
    assert timm_arguments({"storage_tokens": torch.zeros(1)}) == {"global_pool": "token"}
    assert timm_arguments({"reg_token": torch.zeros(1)}) == {}
