"""Networks whose blocks are numbered throughout, in timm's stages: EfficientNets, MobileNets."""

import re
from functools import partial

from torch import Tensor

from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Rules, Tensors
from covtool.checkpoints.code_bases.renaming import flat_block_stages

# Of a block with an expansion, and of one without: timm numbers norms and names convolutions by
# their place, so that the same layer has two names.
_EXPANDED = {
    "expand": "conv_pw",
    "expand_bn": "bn1",
    "depthwise": "conv_dw",
    "depthwise_bn": "bn2",
    "project": "conv_pwl",
    "project_bn": "bn3",
}
_NOT_EXPANDED = {
    "depthwise": "conv_dw",
    "depthwise_bn": "bn1",
    "project": "conv_pw",
    "project_bn": "bn2",
}
_NUMBERED = re.compile(r"^block\.(\d+)\.(\w+)\.(.+)$")

# Rules give layers plain names; `in_stages` then gives timm's, which depend on the whole block.
_LUKEMELAS: Rules = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.", "block."),
    (r"\._expand_conv\.", ".expand."),
    (r"\._bn0\.", ".expand_bn."),
    (r"\._depthwise_conv\.", ".depthwise."),
    (r"\._bn1\.", ".depthwise_bn."),
    (r"\._se_reduce\.", ".se.conv_reduce."),
    (r"\._se_expand\.", ".se.conv_expand."),
    (r"\._project_conv\.", ".project."),
    (r"\._bn2\.", ".project_bn."),
)
_EFFICIENTNET: Rules = (
    (r"^embeddings\.convolution\.", "conv_stem."),
    (r"^embeddings\.batchnorm\.", "bn1."),
    (r"^encoder\.top_conv\.", "conv_head."),
    (r"^encoder\.top_bn\.", "bn2."),
    (r"^encoder\.blocks\.", "block."),
    (r"\.expansion\.expand_conv\.", ".expand."),
    (r"\.expansion\.expand_bn\.", ".expand_bn."),
    (r"\.depthwise_conv\.depthwise_conv\.", ".depthwise."),
    (r"\.depthwise_conv\.depthwise_norm\.", ".depthwise_bn."),
    (r"\.squeeze_excite\.(reduce|expand)\.", r".se.conv_\1."),
    (r"\.projection\.project_conv\.", ".project."),
    (r"\.projection\.project_bn\.", ".project_bn."),
)
_MOBILENET_V1: Rules = (
    (r"^conv_stem\.convolution\.", "conv_stem."),
    (r"^conv_stem\.normalization\.", "bn1."),
)
_MOBILENET_V2: Rules = (
    (r"^conv_stem\.first_conv\.convolution\.", "conv_stem."),
    (r"^conv_stem\.first_conv\.normalization\.", "bn1."),
    (r"^conv_1x1\.convolution\.", "conv_head."),
    (r"^conv_1x1\.normalization\.", "bn2."),
    # The first block is a part of the stem there.
    (r"^conv_stem\.(?=conv_3x3|reduce_1x1)", "layer.-1."),
    (r"\.expand_1x1\.convolution\.", ".expand."),
    (r"\.expand_1x1\.normalization\.", ".expand_bn."),
    (r"\.conv_3x3\.convolution\.", ".depthwise."),
    (r"\.conv_3x3\.normalization\.", ".depthwise_bn."),
    (r"\.reduce_1x1\.convolution\.", ".project."),
    (r"\.reduce_1x1\.normalization\.", ".project_bn."),
)

# Sandler et al., CVPR 2018, table 2: narrow ones have stages of equal width.
_MOBILENET_V2_REPEATS = (1, 2, 3, 4, 3, 3, 1)

# TensorFlow's padding and epsilon, which those ports keep (`tf_padding`, `layer_norm_eps`).
_AS_TENSORFLOW = {"pad_type": "same", "bn_eps": 1e-3}


def in_stages(tensors: Tensors, *, repeats: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Put blocks ``block.N.LAYER`` into timm's stages, under the names of their kind.

    Args:
        tensors: Under the names that the rules give.
        repeats: Blocks of each stage. Where they are not given, or do not add up to the blocks
            there are, a stage begins where the number of channels changes.
    """
    layers: dict[int, set[str]] = {}
    for name in tensors:
        if match := _NUMBERED.match(name):
            layers.setdefault(int(match[1]), set()).add(match[2])
    if sum(repeats) == len(layers):
        stages = ((stage, place) for stage, n in enumerate(repeats) for place in range(n))
        places = dict(zip(sorted(layers), stages, strict=True))
    else:
        places = flat_block_stages({n: _channels(tensors, n, own) for n, own in layers.items()})
    result = {}
    for name, tensor in tensors.items():
        if match := _NUMBERED.match(name):
            number = int(match[1])
            table = _EXPANDED if "expand" in layers[number] else _NOT_EXPANDED
            stage, place = places[number]
            name = f"blocks.{stage}.{place}.{table.get(match[2], match[2])}.{match[3]}"
        result[name] = tensor
    return result


def _channels(tensors: Tensors, number: int, layers: set[str]) -> tuple[int, int]:
    """Return input and output channels of a block."""
    taken = (
        tensors[f"block.{number}.expand.weight"].shape[1]
        if "expand" in layers
        else tensors[f"block.{number}.depthwise.weight"].shape[0]
    )
    return taken, tensors[f"block.{number}.project.weight"].shape[0]


def _pairs(tensors: Tensors) -> dict[str, Tensor]:
    """Pair MobileNetV1's layers, which are numbered singly: depthwise and pointwise in turn."""
    kinds = {"convolution": "", "normalization": "_bn"}
    result = {}
    for name, tensor in tensors.items():
        match = re.match(r"layer\.(\d+)\.(convolution|normalization)\.(.+)", name)
        if match:
            block, is_second = divmod(int(match[1]), 2)
            layer = ("project" if is_second else "depthwise") + kinds[match[2]]
            name = f"block.{block}.{layer}.{match[3]}"
        result[name] = tensor
    return result


def _from_zero(tensors: Tensors) -> dict[str, Tensor]:
    """Count MobileNetV2's blocks from zero, the one in the stem first."""

    def changed(match: re.Match[str]) -> str:
        return f"block.{int(match[1]) + 1}."

    return {re.sub(r"^layer\.(-?\d+)\.", changed, n): t for n, t in tensors.items()}


def _tensorflow_says(part: Part) -> Findings:
    # Both ports pad as TensorFlow does, as timm's networks with that prefix.
    return Findings(prefers="^tf_")


def _mobilenet_says(part: Part) -> Findings:
    if part.config.get("tf_padding") is False:
        epsilon = part.config.get("layer_norm_eps")
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            epsilon = _AS_TENSORFLOW["bn_eps"]
        return Findings(arguments={"bn_eps": epsilon})
    return Findings(
        arguments=_AS_TENSORFLOW,
        notes=("It pads as TensorFlow does, as transformers' MobileNets do by default.",),
    )


ROWS = (
    CodeBase(
        name="efficientnet-pytorch",
        summary="EfficientNet-PyTorch's networks",
        source="lukemelas/EfficientNet-PyTorch",
        signs=(r"_conv_stem\.weight$", r"_blocks\.0\._depthwise_conv\.weight$"),
        rules=_LUKEMELAS,
        steps=(in_stages,),
        says=_tensorflow_says,
    ),
    CodeBase(
        name="transformers-efficientnet",
        summary="transformers' EfficientNet",
        source="huggingface/transformers",
        signs=(
            r"embeddings\.convolution\.weight$",
            r"encoder\.blocks\.0\.depthwise_conv\.depthwise_conv\.weight$",
        ),
        rules=_EFFICIENTNET,
        beside=((r"^classifier\.", "classifier."),),
        steps=(in_stages,),
        says=_tensorflow_says,
    ),
    CodeBase(
        name="transformers-mobilenet-v1",
        summary="transformers' MobileNetV1",
        source="huggingface/transformers",
        signs=(r"conv_stem\.convolution\.weight$", r"layer\.0\.convolution\.weight$"),
        rules=_MOBILENET_V1,
        beside=((r"^classifier\.", "classifier."),),
        steps=(_pairs, in_stages),
        says=_mobilenet_says,
    ),
    CodeBase(
        name="transformers-mobilenet-v2",
        summary="transformers' MobileNetV2",
        source="huggingface/transformers",
        signs=(
            r"conv_stem\.first_conv\.convolution\.weight$",
            r"layer\.0\.expand_1x1\.convolution\.weight$",
        ),
        rules=_MOBILENET_V2,
        beside=((r"^classifier\.", "classifier."),),
        steps=(_from_zero, partial(in_stages, repeats=_MOBILENET_V2_REPEATS)),
        says=_mobilenet_says,
    ),
)
