"""What names leave open is read from other tensors, assumed in a note, or refused."""

import re

import pytest
import timm
import torch
from code_base_layouts import LAYOUTS, by_index, clip_vit, detectron2

from covtool.checkpoints.code_bases import Reading, read_code_bases

VIT = {"embed_dim": 32, "depth": 1, "num_heads": 2, "img_size": 32, "num_classes": 5}
RESNET = {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "num_classes": 5}


def only(tensors, **arguments) -> Reading:
    (reading,) = read_code_bases(tensors, **arguments)
    return reading


def layout_of(code_base: str, architecture: str, arguments: dict) -> dict[str, torch.Tensor]:
    write = next(row.write for row in LAYOUTS if row.code_base == code_base)
    return write(timm.create_model(architecture, **arguments).state_dict())


@pytest.fixture(scope="module")
def clip():
    name = "vit_base_patch16_clip_224"
    return clip_vit(timm.create_model(name, **VIT).state_dict())


@pytest.fixture(scope="module")
def dinov2():
    arguments = {**VIT, "img_size": 28}
    return layout_of("transformers-dinov2", "vit_small_patch14_dinov2", arguments)


def test_quickgelu_is_assumed_for_clip_and_said(clip):
    reading = only(clip)
    assert re.search(reading.prefers, "vit_base_patch16_clip_quickgelu_224")
    assert not re.search(reading.prefers, "vit_base_patch16_clip_224")
    assert any("QuickGELU is assumed" in note for note in reading.notes)


@pytest.mark.parametrize("config", [{"quick_gelu": False}, {"model_cfg": {"quick_gelu": False}}])
def test_gelu_is_taken_for_clip_where_the_configuration_tells_it(clip, config):
    reading = only(clip, config=config)
    assert re.search(reading.prefers, "vit_base_patch16_clip_224")
    assert not re.search(reading.prefers, "vit_base_patch16_clip_quickgelu_224")
    assert not any("GELU" in note for note in reading.notes)


def test_openai_s_own_file_is_told_by_its_buffers(clip):
    reading = only(clip | {"input_resolution": torch.tensor(224)})
    assert reading.prefers == "quickgelu"
    assert not any("GELU" in note for note in reading.notes)


def test_the_projection_of_clip_is_said_to_be_no_classifier(clip):
    assert any("not classes" in note for note in only(clip).notes)


def test_clip_reads_images_as_openai_normalized_them(clip):
    assert only(clip).input["mean"] == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)


def test_coca_s_attention_pooling_is_refused(clip):
    assert "CoCa" in only(clip | {"visual.attn_pool.query": torch.zeros(2, 32)}).refusal


def test_a_classifier_of_dinov2_s_two_vectors_is_not_used_and_said(dinov2):
    tensors = dinov2 | {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}
    reading = only(tensors)
    assert {"classifier.weight", "classifier.bias"} <= set(reading.unused)
    assert "head.weight" not in reading.tensors
    assert any("The classifier is not used" in note for note in reading.notes)


def test_a_classifier_of_dinov2_s_class_token_is_used(dinov2):
    assert only(dinov2).tensors["head.weight"].shape == (5, 32)


def test_a_deit_with_two_tokens_and_one_classifier_keeps_its_body():
    name = "deit_tiny_distilled_patch16_224"
    tensors = layout_of("transformers-vit", name, VIT)
    renamed = {
        n.replace("cls_classifier", "classifier"): t
        for n, t in tensors.items()
        if not n.startswith("distillation_classifier")
    }
    reading = only(renamed)
    assert reading.unused == ("classifier.weight", "classifier.bias")
    assert "dist_token" in reading.tensors


def test_layer_norms_of_transformers_are_said_to_differ_unless_the_configuration_says_no():
    tensors = layout_of("transformers-vit", "vit_tiny_patch16_224", VIT)
    assert any("1e-12" in note for note in only(tensors).notes)
    assert only(tensors, config={"layer_norm_eps": 1e-6}).notes == ()


def test_a_siglip_with_a_classifier_reads_the_mean_of_the_patches():
    name = "vit_base_patch16_siglip_gap_224"
    tensors = layout_of("transformers-siglip", name, VIT)
    pool = {"vision_model.head.probe": torch.zeros(1, 1, 32)}
    reading = only(tensors | pool)
    assert reading.unused == ("vision_model.head.probe",)
    assert re.search(reading.prefers, name)


def test_a_mobilenet_pads_as_tensorflow_unless_its_configuration_says_no():
    row = next(row for row in LAYOUTS if row.code_base == "transformers-mobilenet-v2")
    tensors = row.write(timm.create_model(row.architecture, num_classes=5).state_dict())
    assert only(tensors).arguments == {"pad_type": "same", "bn_eps": 1e-3}
    assert only(tensors, config={"tf_padding": False}).arguments == {"bn_eps": 1e-3}


def resnet50(mean: float) -> dict[str, torch.Tensor]:
    state = timm.create_model("resnet50", **RESNET).state_dict()
    return {n: torch.full_like(t, mean) if "running_mean" in n else t for n, t in state.items()}


def test_a_resnet_of_msra_is_refused_for_its_strides():
    assert "stride" in only(detectron2(resnet50(0.0))).refusal
    assert only(detectron2(resnet50(0.1))).refusal == ""


def test_the_last_stage_in_a_detector_s_head_belongs_to_the_network():
    tensors = {
        n.replace("backbone.bottom_up.res5", "roi_heads.res5"): t
        for n, t in detectron2(resnet50(0.1)).items()
    }
    assert set(only(tensors).tensors) == set(resnet50(0.1))


def test_the_head_of_a_fastai_learner_is_not_used_and_said():
    body = {
        name.removeprefix("backbone."): tensor
        for name, tensor in by_index(timm.create_model("resnet18", **RESNET).state_dict()).items()
        if not name.startswith("backbone.9.")
    }
    tensors = {f"0.{name}": tensor for name, tensor in body.items()}
    tensors |= {"1.4.weight": torch.zeros(16, 64), "1.8.weight": torch.zeros(5, 32)}
    reading = only(tensors)
    assert reading.unused == ("1.4.weight", "1.8.weight")
    assert any("fastai" in note for note in reading.notes)
    assert "layer4.0.conv2.weight" in reading.tensors


def test_a_single_linear_layer_beside_a_body_stays_for_the_search_of_a_classifier():
    tensors = by_index(timm.create_model("resnet18", **RESNET).state_dict())
    tensors = {n: t for n, t in tensors.items() if not n.startswith("backbone.9.")}
    reading = only(tensors | {"linear.weight": torch.zeros(5, 32)})
    assert "linear.weight" in reading.tensors


def test_two_copies_of_a_network_are_two_readings():
    tensors = by_index(timm.create_model("resnet18", **RESNET).state_dict())
    both = tensors | {n.replace("backbone", "backbone_momentum"): t for n, t in tensors.items()}
    first, second = read_code_bases(both)
    assert first.tensors["conv1.weight"] is both["backbone.0.weight"]
    assert second.tensors["conv1.weight"] is both["backbone_momentum.0.weight"]


def test_a_plain_file_has_no_reading():
    assert list(read_code_bases(timm.create_model("test_resnet").state_dict())) == []
