import pytest

from covtool.checkpoints.metadata.mm_config import read_mm_config
from covtool.checkpoints.metadata.preprocessors import read_open_clip, read_preprocessor
from covtool.specs import InputSpec

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def images(config):
    return read_preprocessor("preprocessor_config.json", config).input


@pytest.mark.parametrize(
    ("config", "size", "crop", "mode"),
    [
        ({"size": 224}, (224, 224), 1.0, "squash"),
        ({"size": {"height": 384, "width": 256}}, (384, 256), 1.0, "squash"),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224},
            (224, 224),
            0.875,
            "center",
        ),
        (
            {
                "image_processor_type": "DeiTImageProcessor",
                "size": 256,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            (224, 224),
            0.875,
            "squash",
        ),
        (
            {
                "feature_extractor_type": "CLIPFeatureExtractor",
                "size": 224,
                "do_center_crop": True,
                "crop_size": 224,
            },
            (224, 224),
            1.0,
            "center",
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}},
            (224, 224),
            0.875,
            "center",
        ),
        (
            {"image_processor_type": "ConvNextFeatureExtractor", "size": 384, "crop_pct": 0.9},
            (384, 384),
            1.0,
            "squash",
        ),
    ],
)
def test_transformers_sizes_are_those_of_the_processor(config, size, crop, mode):
    found = images({**HALF, **config})
    assert (found["size"], found["crop_mode"]) == (size, mode)
    assert found["crop_pct"] == pytest.approx(crop)


@pytest.mark.parametrize(
    ("config", "mean", "std"),
    [
        (HALF, 0.5, 0.5),
        ({**HALF, "do_normalize": False}, 0.0, 1.0),
        ({**HALF, "do_rescale": True, "rescale_factor": 1 / 255}, 0.5, 0.5),
        ({**HALF, "do_rescale": True, "rescale_factor": 0.1}, 0.5 / 25.5, 0.5 / 25.5),
        ({"image_mean": [127.5] * 3, "image_std": [127.5] * 3, "do_rescale": False}, 0.5, 0.5),
        ({**HALF, "rescale_factor": 1 / 127.5, "rescale_offset": True}, 0.75, 0.25),
        ({"image_mean": [0.485], "image_std": [0.5], "include_top": True}, 0.485, 0.25),
    ],
)
def test_rescaling_is_taken_into_mean_and_deviation(config, mean, std):
    """(x * 255 * factor - offset - mean) / std, as the processors compute it."""
    found = images(config)
    assert found["mean"][0] == pytest.approx(mean)
    assert found["std"][0] == pytest.approx(std)


def test_pils_numbers_become_filters_and_what_there_is_none_for_is_said():
    names = {number: images({**HALF, "resample": number})["interpolation"] for number in range(4)}
    assert names == {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    said = read_preprocessor("p.json", {**HALF, "resample": 5})
    assert "filter 5 is not used" in said.problems[0]
    said = read_preprocessor("p.json", {**HALF, "do_flip_channel_order": True})
    assert "BGR" in said.problems[0]


def test_open_clip_leaves_out_what_is_openais():
    vision = {"model_cfg": {"vision_cfg": {"image_size": 224, "timm_model_name": "vit_base"}}}
    said = read_open_clip("open_clip_config.json", vision)
    assert said.architecture == "vit_base"
    assert said.input["mean"] == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    told = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    said = read_open_clip("open_clip_config.json", {**vision, "preprocess_cfg": told})
    assert (said.input["mean"], said.input["crop_mode"]) == ((0.5,) * 3, "squash")
    InputSpec.model_validate(said.input)


MM_CONFIG = """
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=50, num_stages=4))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb={rgb})
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', size=(256, -1), interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
]
touched = open('/nowhere', 'w')
"""


def test_an_mmengine_configuration_is_read_and_not_run():
    said = read_mm_config("the configuration", MM_CONFIG.format(rgb=True))
    assert said.architecture == "resnet50"
    assert said.input["mean"] == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert said.input["std"] == pytest.approx((0.229, 0.224, 0.225), abs=1e-6)
    assert (said.input["size"], said.input["crop_pct"]) == ((224, 224), 0.875)
    assert said.input["interpolation"] == "bicubic"
    assert not said.problems
    said = read_mm_config("the configuration", MM_CONFIG.format(rgb=False))
    assert "BGR" in said.problems[0]


@pytest.mark.parametrize("text", ["", "a = (", "import os", "x = 1", "a=" + "(" * 5000])
def test_other_text_says_nothing(text):
    assert read_mm_config("the configuration", text) is None
