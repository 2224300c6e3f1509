"""Names that covtool does not read are called by their code base."""

import pytest
from code_base_layouts import LAYOUTS

from covtool.backbones.architectures import load_index
from covtool.checkpoints.code_bases import named_code_base

FILES = {
    "Detectron2": ["backbone.fpn_lateral2.weight", "backbone.bottom_up.stem.conv1.weight"],
    "YOLO": ["model.0.conv.weight", "model.2.cv1.conv.weight", "model.22.dfl.conv.weight"],
    "MMDetection": ["backbone.conv1.weight", "bbox_head.fc_cls.weight"],
    "detector of torchvision": ["backbone.body.conv1.weight", "roi_heads.box_head.fc6.weight"],
    "MMSegmentation": ["backbone.conv1.weight", "decode_head.conv_seg.weight"],
    "Keras": ["conv1/kernel:0", "conv1/bias:0"],
    "JAX": ["params/Conv_0/kernel", "params/Conv_0/bias"],
    "IBN-Net": ["layer1.0.bn1.IN.weight", "layer1.0.bn1.BN.weight"],
    "diffusion": ["model.diffusion_model.input_blocks.0.0.weight"],
    "LoRA": ["base_model.model.blocks.0.attn.qkv.lora_A.weight"],
    "language model": ["model.embed_tokens.weight"],
    "LeViT of transformers": ["levit.patch_embeddings.embedding_layer_1.convolution.weight"],
}


@pytest.mark.parametrize("word", FILES)
def test_a_code_base_is_named(word):
    assert word in named_code_base(FILES[word])


@pytest.mark.parametrize("names", [[], ["fc.weight"], ["layer1.0.conv1.weight", "fc.weight"]])
def test_names_that_tell_nothing_are_named_nothing(names):
    assert named_code_base(names) is None


def test_no_native_name_gives_another_code_base_away():
    index = load_index()
    rows = range(0, len(index.architectures), 40)
    told = {
        index.architectures[r].name: named_code_base(n for n, _ in index.tensors(r)) for r in rows
    }
    assert {name: what for name, what in told.items() if what} == {}


def test_a_code_base_of_the_table_is_named_by_its_row():
    row = next(row for row in LAYOUTS if row.code_base == "vissl")
    assert named_code_base(row.write({"layer1.0.conv1.weight": None})) == "VISSL's trunks"
