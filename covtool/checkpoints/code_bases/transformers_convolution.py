"""Transformers' convolutional networks: ResNet, RegNet, ConvNeXt, PoolFormer, PVT v2, BiT."""

from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Rules
from covtool.checkpoints.code_bases.renaming import (
    joined,
    matrix_as_convolution,
    reshaped,
    shifted,
)

SOURCE = "huggingface/transformers"

# Those of RegNet as well: both readings are tried, and the shapes decide.
_RESNET_SIGNS = (
    r"embedder\.embedder\.convolution\.weight$",
    r"encoder\.stages\.0\.layers\.0\.layer\.0\.convolution\.weight$",
)
_RESNET: Rules = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"layer\1.\2."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.(\d)\.convolution\.", r".conv\1."),
    (r"\.layer\.(\d)\.normalization\.", r".bn\1."),
)
_REGNET: Rules = (
    (r"^embedder\.embedder\.convolution\.", "stem.conv."),
    (r"^embedder\.embedder\.normalization\.", "stem.bn."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"s\1.b\2."),
    (r"\.shortcut\.convolution\.", ".downsample.conv."),
    (r"\.shortcut\.normalization\.", ".downsample.bn."),
    # RegNetY has squeeze and excitation as layer 2, so that its last convolution is layer 3.
    (r"\.layer\.2\.attention\.0\.", ".se.fc1."),
    (r"\.layer\.2\.attention\.2\.", ".se.fc2."),
    (r"\.layer\.([01])\.convolution\.", r".conv\1.conv."),
    (r"\.layer\.([01])\.normalization\.", r".conv\1.bn."),
    (r"\.layer\.[23]\.convolution\.", ".conv2.conv."),
    (r"\.layer\.[23]\.normalization\.", ".conv2.bn."),
)
_CONVNEXT: Rules = (
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.stages\.(\d+)\.downsampling_layer\.", r"stages.\1.downsample."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.", ".mlp.grn."),
    (r"^layernorm\.", "head.norm."),
)
_DINOV3_CONVNEXT: Rules = (
    # The stem is the first stage's; the rule for the others would take it too.
    (r"^stages\.0\.downsample_layers\.", "stem."),
    (r"^stages\.(\d+)\.downsample_layers\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.depthwise_conv\.", ".conv_dw."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.pointwise_conv(\d)\.", r".mlp.fc\1."),
    (r"^layer_norm\.", "head.norm."),
)
_POOLFORMER: Rules = (
    (r"^encoder\.patch_embeddings\.0\.projection\.", "stem.conv."),
    (r"^encoder\.patch_embeddings\.(\d+)\.projection\.", r"stages.\1.downsample.conv."),
    (r"^encoder\.block\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.layer_scale_(\d)$", r".layer_scale\1.scale"),
    (r"\.output\.conv(\d)\.", r".mlp.fc\1."),
    (r"\.before_norm\.", ".norm1."),
    (r"\.after_norm\.", ".norm2."),
)
_PVT_V2: Rules = (
    (r"^encoder\.layers\.0\.patch_embedding\.", "patch_embed."),
    (r"^encoder\.layers\.(\d+)\.patch_embedding\.", r"stages.\1.downsample."),
    (r"^(patch_embed|stages\.\d+\.downsample)\.layer_norm\.", r"\1.norm."),
    (r"^encoder\.layers\.(\d+)\.layer_norm\.", r"stages.\1.norm."),
    (r"^encoder\.layers\.", "stages."),
    (r"\.attention\.spatial_reduction\.", ".attn.sr."),
    (r"\.attention\.layer_norm\.", ".attn.norm."),
    (r"\.attention\.query\.", ".attn.q."),
    (r"\.attention\.", ".attn."),
    (r"\.layer_norm_(\d)\.", r".norm\1."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.dwconv."),
)
_FOCALNET: Rules = (
    (r"^embeddings\.patch_embeddings\.projection\.", "stem.proj."),
    (r"^embeddings\.norm\.", "stem.norm."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"layers.\1.blocks.\2."),
    (r"^encoder\.stages\.(\d+)\.downsample\.projection\.", r"layers.\1.downsample.proj."),
    (r"^encoder\.stages\.(\d+)\.downsample\.", r"layers.\1.downsample."),
    (r"\.modulation\.projection_in\.", ".modulation.f."),
    (r"\.modulation\.projection_context\.", ".modulation.h."),
    (r"\.modulation\.projection_out\.", ".modulation.proj."),
    (r"^layernorm\.", "norm."),
)
_BIT: Rules = (
    (r"^embedder\.convolution\.", "stem.conv."),
    (r"^encoder\.stages\.(\d+)\.layers\.", r"stages.\1.blocks."),
)
# RegNet and BiT have a Sequential of a flattening (0) and the classifier (1).
_LAST = ((r"^classifier\.(?:1\.)?", "head.fc."),)


def _poolformer_says(part: Part) -> Findings:
    note = (
        "PoolFormer normalizes the last map and then pools; timm pools and then normalizes. "
        "The map is equal, the logits are scaled."
    )
    return Findings(notes=(note,))


ROWS = (
    CodeBase(
        name="transformers-resnet",
        summary="transformers' ResNet",
        source=SOURCE,
        signs=_RESNET_SIGNS,
        rules=_RESNET,
        beside=((r"^classifier\.1\.", "fc."),),
        # Stages and convolutions count from 0 there, from 1 in torchvision and timm.
        steps=(
            shifted(r"^layer(?P<n>\d+)\.", "layer{n}.", 1),
            shifted(r"(?P<a>^layer.*\.(?:conv|bn))(?P<n>\d)\.", r"\g<a>{n}.", 1),
        ),
    ),
    CodeBase(
        name="transformers-regnet",
        summary="transformers' RegNet",
        source=SOURCE,
        signs=_RESNET_SIGNS,
        rules=_REGNET,
        beside=_LAST,
        steps=(
            shifted(r"^s(?P<n>\d+)\.", "s{n}.", 1),
            shifted(r"^(?P<a>s\d+\.b)(?P<n>\d+)\.", r"\g<a>{n}.", 1),
            shifted(r"^(?P<a>s\d+\.b\d+\.conv)(?P<n>\d)\.", r"\g<a>{n}.", 1),
        ),
    ),
    CodeBase(
        name="transformers-convnext",
        summary="transformers' ConvNeXt and ConvNeXt V2",
        source=SOURCE,
        signs=(
            r"embeddings\.patch_embeddings\.weight$",
            r"encoder\.stages\.0\.layers\.0\.dwconv\.weight$",
        ),
        rules=_CONVNEXT,
        beside=_LAST,
        # Global response normalization has shape (1, 1, 1, C) there.
        steps=(reshaped(r"\.grn\.", lambda t: t.flatten()),),
    ),
    CodeBase(
        name="transformers-dinov3-convnext",
        summary="transformers' ConvNeXt of DINOv3",
        source=SOURCE,
        signs=(
            r"stages\.0\.downsample_layers\.0\.weight$",
            r"stages\.0\.layers\.0\.depthwise_conv\.weight$",
        ),
        rules=_DINOV3_CONVNEXT,
    ),
    CodeBase(
        name="transformers-poolformer",
        summary="transformers' PoolFormer",
        source=SOURCE,
        signs=(
            r"encoder\.patch_embeddings\.0\.projection\.weight$",
            r"encoder\.block\.0\.0\.before_norm\.weight$",
        ),
        rules=_POOLFORMER,
        beside=((r"^norm\.", "head.norm."), *_LAST),
        says=_poolformer_says,
    ),
    CodeBase(
        name="transformers-pvt-v2",
        summary="transformers' PVT v2",
        source=SOURCE,
        signs=(
            r"encoder\.layers\.0\.patch_embedding\.proj\.weight$",
            r"encoder\.layers\.0\.blocks\.0\.attention\.query\.weight$",
        ),
        rules=_PVT_V2,
        beside=((r"^classifier\.", "head."),),
        steps=(joined("kv", "key", "value"),),
    ),
    CodeBase(
        name="transformers-focalnet",
        summary="transformers' FocalNet",
        source=SOURCE,
        signs=(
            r"embeddings\.patch_embeddings\.projection\.weight$",
            r"encoder\.stages\.0\.layers\.0\.modulation\.projection_in\.weight$",
        ),
        rules=_FOCALNET,
        beside=_LAST,
        unused=(r"mask_token$",),
        steps=(
            shifted(r"^layers\.(?P<n>\d+)\.downsample\.", "layers.{n}.downsample.", 1),
            # timm has 1x1 convolutions where transformers has linear layers.
            reshaped(
                r"\.modulation\.(?:f|proj)\.weight$|\.mlp\.fc\d\.weight$", matrix_as_convolution
            ),
        ),
    ),
    CodeBase(
        name="transformers-bit",
        summary="transformers' BiT",
        source=SOURCE,
        signs=(
            r"embedder\.convolution\.weight$",
            r"encoder\.stages\.0\.layers\.0\.norm1\.weight$",
        ),
        rules=_BIT,
        beside=_LAST,
        steps=(reshaped(r"^head\.fc\.weight$", matrix_as_convolution),),
    ),
)
