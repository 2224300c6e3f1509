"""MMPretrain's networks (mmcls before): ResNet, RegNet, ViT, Swin, ConvNeXt, MobileNetV2, VGG."""

import re

from torch import Tensor

from covtool.checkpoints.code_bases.code_base import CodeBase, Rules, Tensors
from covtool.checkpoints.code_bases.renaming import reshaped, shifted

SOURCE = "open-mmlab/mmpretrain"

# Where Swin's (row, column) neighbors (0,0), (1,0), (0,1), (1,1) lie in an unfolded 2x2 patch.
_UNFOLDED = (0, 2, 1, 3)
_CONV_BN_RELU, _CONV_RELU = 3, 2

_BACKBONE: Rules = ((r"^backbone\.", ""),)
_SQUEEZE = (r"\.se_layer\.conv(\d)\.conv\.", r".se.fc\1.")
_STEM: Rules = (  # of three convolutions, in ResNetV1c and V1d: the last norm is outside in timm
    (r"^stem\.0\.conv\.", "conv1.0."),
    (r"^stem\.0\.bn\.", "conv1.1."),
    (r"^stem\.1\.conv\.", "conv1.3."),
    (r"^stem\.1\.bn\.", "conv1.4."),
    (r"^stem\.2\.conv\.", "conv1.6."),
    (r"^stem\.2\.bn\.", "bn1."),
)
_REGNET: Rules = (
    *_BACKBONE,
    (r"^conv1\.", "stem.conv."),
    (r"^bn1\.", "stem.bn."),
    (r"^layer(\d)\.(\d+)\.", r"s\1.b\2."),
    _SQUEEZE,
    (r"^(s\d.*)\.conv(\d)\.", r"\1.conv\2.conv."),
    (r"^(s\d.*)\.bn(\d)\.", r"\1.conv\2.bn."),
    (r"\.downsample\.0\.", ".downsample.conv."),
    (r"\.downsample\.1\.", ".downsample.bn."),
    (r"^head\.fc\.", "head.fc."),
)
_FFN: Rules = (
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)
_VIT: Rules = (
    *_BACKBONE,
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^layers\.(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+)\.ln(\d)\.", r"\1.norm\2."),
    (r"^ln1\.|^norm1\.", "norm."),
    (r"\.attn\.gamma1\.weight$|\.ls1\.weight$", ".ls1.gamma"),
    (r"\.ffn\.gamma2\.weight$|\.ls2\.weight$", ".ls2.gamma"),
    *_FFN,
    (r"^head\.layers\.head\.", "head."),
    (r"^head\.layers\.head_dist\.", "head_dist."),
)
_SWIN: Rules = (
    *_BACKBONE,
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^stages\.", "layers."),
    (r"\.attn\.w_msa\.", ".attn."),
    *_FFN,
    (r"^norm3\.", "norm."),
)
_CONVNEXT: Rules = (
    *_BACKBONE,
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.depthwise_conv\.", ".conv_dw."),
    (r"\.pointwise_conv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"^norm3\.", "head.norm."),
)
_MOBILENET_V2: Rules = (
    *_BACKBONE,
    (r"^conv1\.conv\.", "conv_stem."),
    (r"^conv1\.bn\.", "bn1."),
    (r"^conv2\.conv\.", "conv_head."),
    (r"^conv2\.bn\.", "bn2."),
    # The first stage does not expand: it has two convolutions where the others have three.
    (r"^layer1\.(\d)\.conv\.0\.conv\.", r"blocks.1.\1.conv_dw."),
    (r"^layer1\.(\d)\.conv\.0\.bn\.", r"blocks.1.\1.bn1."),
    (r"^layer1\.(\d)\.conv\.1\.conv\.", r"blocks.1.\1.conv_pw."),
    (r"^layer1\.(\d)\.conv\.1\.bn\.", r"blocks.1.\1.bn2."),
    (r"^layer(\d)\.(\d)\.conv\.0\.conv\.", r"blocks.\1.\2.conv_pw."),
    (r"^layer(\d)\.(\d)\.conv\.1\.conv\.", r"blocks.\1.\2.conv_dw."),
    (r"^layer(\d)\.(\d)\.conv\.2\.conv\.", r"blocks.\1.\2.conv_pwl."),
    (r"^layer(\d)\.(\d)\.conv\.(\d)\.bn\.", r"blocks.\1.\2.bn_\3."),
    # A replacement cannot count: norms from 0 become norms from 1 in two steps.
    (r"\.bn_0\.", ".bn1."),
    (r"\.bn_1\.", ".bn2."),
    (r"\.bn_2\.", ".bn3."),
    (r"^head\.fc\.", "classifier."),
)


def _merged_patches(tensors: Tensors) -> dict[str, Tensor]:
    """Reorder the inputs of Swin's patch merging, from the order of `nn.Unfold` to Swin's own."""
    result = dict(tensors)
    for name, weight in tensors.items():
        if name.endswith(".downsample.reduction.weight"):
            module, channels = name.removesuffix("reduction.weight"), weight.shape[1]
            result[name] = _from_unfolded(weight)
            for norm in (f"{module}norm.weight", f"{module}norm.bias"):
                if norm in tensors and tensors[norm].shape == (channels,):  # SwinV2's is behind
                    result[norm] = _from_unfolded(tensors[norm])
    return result


def _from_unfolded(tensor: Tensor) -> Tensor:
    """Reorder the last axis, of 4C: channel by channel there, neighbor by neighbor here."""
    parts = tensor.unflatten(-1, (-1, len(_UNFOLDED)))
    return parts[..., list(_UNFOLDED)].transpose(-1, -2).flatten(-2)


_MOST_LAYERS = 1_000  # of a VGG, which has 16


def _vgg_numbers(tensors: Tensors) -> dict[str, Tensor]:
    """Count the modules of `features` singly, as torchvision does: convolution, norm, ReLU."""
    layers = {int(n.split(".")[1]) for n in tensors if re.match(r"features\.\d+\.conv\.weight", n)}
    step = _CONV_BN_RELU if any(".bn.weight" in name for name in tensors) else _CONV_RELU
    # Numbers are names in a file, and may be in the billions.
    if max(layers, default=0) > _MOST_LAYERS:
        return dict(tensors)
    numbers, number = {}, 0
    for layer in range(max(layers, default=-1) + 1):
        numbers[layer] = number
        number += step if layer in layers else 1  # a max pooling has no tensors
    result = {}
    for name, tensor in tensors.items():
        match = re.match(r"features\.(\d+)\.(conv|bn)\.(.*)", name)
        if match:
            place = numbers[int(match[1])] + (match[2] == "bn")
            name = f"features.{place}.{match[3]}"
        result[name] = tensor
    return result


_UNUSED = (r"^data_preprocessor\.", r"relative_position_index$", r"relative_coords_table$")
# Swin merges patches at the end of a stage there, SwinV2 at the beginning as in timm.
_ONE_UP = shifted(
    r"^layers\.(?P<n>\d+)\.downsample\.",
    "layers.{n}.downsample.",
    1,
    where=r"^layers\.0\.downsample\.",
)
_ONE_DOWN = shifted(r"^blocks\.(?P<n>\d+)\.", "blocks.{n}.", -1)

# V1d has an average before the convolution of a shortcut, where it has a stride.
_SHORTCUT = shifted(
    r"^(?P<a>layer1\.0\.downsample\.)(?P<n>[01])\.",
    r"\g<a>{n}.",
    1,
    where=r"^layer2\.0\.downsample\.2\.",
)

ROWS = (
    CodeBase(
        name="mmpretrain-resnet",
        summary="MMPretrain's ResNet, ResNetV1c, V1d, ResNeXt and SE-ResNet",
        source=SOURCE,
        signs=(
            r"backbone\.layer1\.0\.conv1\.weight$",
            r"backbone\.layer4\.0\.conv2\.weight$",
            r"head\.fc\.weight$",
        ),
        rules=(*_BACKBONE, *_STEM, _SQUEEZE, (r"^head\.fc\.", "fc.")),
        unused=_UNUSED,
        steps=(_SHORTCUT,),
    ),
    CodeBase(
        name="mmpretrain-regnet",
        summary="MMPretrain's RegNet",
        source=SOURCE,
        signs=(
            r"backbone\.layer1\.0\.conv1\.weight$",
            r"backbone\.layer4\.0\.conv3\.weight$",
            r"head\.fc\.weight$",
        ),
        rules=_REGNET,
        unused=_UNUSED,
        steps=(shifted(r"^(?P<a>s\d\.b)(?P<n>\d+)\.", r"\g<a>{n}.", 1),),
    ),
    CodeBase(
        name="mmpretrain-vit",
        summary="MMPretrain's ViT and DeiT",
        source=SOURCE,
        signs=(
            r"backbone\.patch_embed\.projection\.weight$",
            r"backbone\.layers\.0\.ffn\.layers\.0\.0\.weight$",
        ),
        rules=_VIT,
        unused=_UNUSED,
    ),
    CodeBase(
        name="mmpretrain-swin",
        summary="MMPretrain's Swin and SwinV2",
        source=SOURCE,
        signs=(
            r"backbone\.patch_embed\.projection\.weight$",
            r"backbone\.stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight$",
        ),
        rules=_SWIN,
        unused=_UNUSED,
        steps=(_ONE_UP, _merged_patches),
    ),
    CodeBase(
        name="mmpretrain-convnext",
        summary="MMPretrain's ConvNeXt and ConvNeXt V2",
        source=SOURCE,
        signs=(
            r"backbone\.downsample_layers\.0\.0\.weight$",
            r"backbone\.stages\.0\.0\.depthwise_conv\.weight$",
        ),
        rules=_CONVNEXT,
        unused=_UNUSED,
        steps=(reshaped(r"\.grn\.", lambda t: t.flatten()),),
    ),
    CodeBase(
        name="mmpretrain-mobilenet-v2",
        summary="MMPretrain's MobileNetV2",
        source=SOURCE,
        signs=(
            r"backbone\.conv1\.conv\.weight$",
            r"backbone\.layer1\.0\.conv\.0\.conv\.weight$",
            r"backbone\.conv2\.conv\.weight$",
        ),
        rules=_MOBILENET_V2,
        unused=_UNUSED,
        steps=(_ONE_DOWN,),
    ),
    CodeBase(
        name="mmpretrain-vgg",
        summary="MMPretrain's VGG",
        source=SOURCE,
        signs=(r"backbone\.features\.0\.conv\.weight$", r"backbone\.classifier\.0\.weight$"),
        rules=_BACKBONE,
        unused=_UNUSED,
        steps=(_vgg_numbers,),
    ),
)
