"""MMPretrain's networks."""

import re

import torch

from code_base_layouts.architectures import (
    CONVNEXT,
    INVERTED,
    MM_RESNET,
    REGNET,
    SMALL_CONVNEXT,
    SMALL_RESNET,
    SMALL_SWIN,
    SMALL_VIT,
    SWIN,
    VGG,
    VIT,
)
from code_base_layouts.layout import State, layout, number, sub, under


def mm_resnet(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"\.se\.fc(\d)\.", r".se_layer.conv\1.conv."),
        (r"^fc\.", "head.fc."),
    )
    if "conv1.0.weight" in state:
        new = sub(
            new,
            (r"^conv1\.0\.", "stem.0.conv."),
            (r"^conv1\.1\.", "stem.0.bn."),
            (r"^conv1\.3\.", "stem.1.conv."),
            (r"^conv1\.4\.", "stem.1.bn."),
            (r"^conv1\.6\.", "stem.2.conv."),
            (r"^bn1\.", "stem.2.bn."),
        )
    if "layer1.0.downsample.2.weight" in state:
        new = sub(
            new,
            (r"^layer1\.0\.downsample\.1\.", "layer1.0.downsample.0."),
            (r"^layer1\.0\.downsample\.2\.", "layer1.0.downsample.1."),
        )
    return under("backbone.", new, "head.")


def mm_regnet(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^stem\.conv\.", "conv1."),
        (r"^stem\.bn\.", "bn1."),
        (r"\.conv(\d)\.conv\.", r".conv\1."),
        (r"\.conv(\d)\.bn\.", r".bn\1."),
        (r"\.se\.fc(\d)\.", r".se_layer.conv\1.conv."),
        (r"\.downsample\.conv\.", ".downsample.0."),
        (r"\.downsample\.bn\.", ".downsample.1."),
        (r"^s(\d)\.b(\d+)\.", lambda m: f"layer{m[1]}.{int(m[2]) - 1}."),
    )
    return under("backbone.", new, "head.")


MM_MLP = ((r"\.mlp\.fc1\.", ".ffn.layers.0.0."), (r"\.mlp\.fc2\.", ".ffn.layers.1."))


def mm_vit(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "ln1."),
        (r"^blocks\.", "layers."),
        (r"\.norm(\d)\.", r".ln\1."),
        (r"^head(_dist)?\.", r"head.layers.head\1."),
        *MM_MLP,
    )
    return under("backbone.", new, "head.")


def mm_swin(state: State) -> dict[str, torch.Tensor]:
    first_version = not any(".attn.cpb_mlp." in name for name in state)
    new = sub(
        state,
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "norm3."),
        (r"^(layers\.)(\d)(\.downsample\.)", number(-1 if first_version else 0)),
        (r"^layers\.", "stages."),
        (r"\.attn\.", ".attn.w_msa."),
        *MM_MLP,
    )
    for name, tensor in new.items():
        merges = name.endswith("downsample.reduction.weight") or (
            first_version and ".downsample.norm." in name
        )
        if merges:  # neighbor by neighbor, the columns outside -> as nn.Unfold gives a patch
            channels = tensor.shape[-1] // 4
            columns, rows = tensor.unflatten(-1, (2, 2, channels)), tensor.dim()
            new[name] = columns.transpose(rows - 1, rows).movedim(-1, rows - 1).flatten(rows - 1)
    return under("backbone.", new, "head.")


def mm_convnext(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".depthwise_conv."),
        (r"\.mlp\.fc(\d)\.", r".pointwise_conv\1."),
        (r"\.mlp\.grn\.weight$", ".grn.gamma"),
        (r"\.mlp\.grn\.bias$", ".grn.beta"),
        (r"^head\.norm\.", "norm3."),
    )
    return under("backbone.", new, "head.")


def mm_mobilenet_v2(state: State) -> dict[str, torch.Tensor]:
    names = {"conv_pw": "0.conv", "bn1": "0.bn", "conv_dw": "1.conv", "bn2": "1.bn"}
    names |= {"conv_pwl": "2.conv", "bn3": "2.bn"}
    first = {"conv_dw": "0.conv", "bn1": "0.bn", "conv_pw": "1.conv", "bn2": "1.bn"}

    def block(match: re.Match) -> str:
        table = first if match[1] == "0" else names
        return f"layer{int(match[1]) + 1}.{match[2]}.conv.{table[match[3]]}."

    new = sub(
        state,
        (r"^conv_stem\.", "conv1.conv."),
        (r"^bn1\.", "conv1.bn."),
        (r"^conv_head\.", "conv2.conv."),
        (r"^bn2\.", "conv2.bn."),
        (r"^blocks\.(\d)\.(\d+)\.(\w+)\.", block),
        (r"^classifier\.", "head.fc."),
    )
    return under("backbone.", new, "head.")


def mm_vgg(state: State) -> dict[str, torch.Tensor]:
    """Each convolution with its norm and ReLU counts as one module, each pooling too."""
    convolutions = [int(n.split(".")[1]) for n, t in state.items() if t.dim() == 4]
    normed = any("running_mean" in name for name in state)
    places, own = {}, 0
    for count, place in enumerate(convolutions):
        if count and place - convolutions[count - 1] > (3 if normed else 2):
            own += 1
        places[place] = own
        own += 1
    result = {}
    for name, tensor in state.items():
        if name.startswith("features."):
            _, place, leaf = name.split(".")
            kind = "conv" if int(place) in places else "bn"
            name = f"features.{places[int(place) - (kind == 'bn')]}.{kind}.{leaf}"
        result[name] = tensor
    return under("backbone.", result, "none of them")


LAYOUTS = [
    layout("mmpretrain-resnet", "resnet50", MM_RESNET, mm_resnet, arguments=SMALL_RESNET),
    layout("mmpretrain-resnet", "resnet50c", MM_RESNET, mm_resnet, arguments=SMALL_RESNET),
    layout("mmpretrain-resnet", "resnet50d", MM_RESNET, mm_resnet, arguments=SMALL_RESNET),
    layout("mmpretrain-resnet", "seresnet50", MM_RESNET, mm_resnet, arguments=SMALL_RESNET),
    layout("mmpretrain-regnet", "regnety_002", REGNET, mm_regnet),
    layout("mmpretrain-vit", "vit_tiny_patch16_224", VIT, mm_vit, arguments=SMALL_VIT),
    layout("mmpretrain-vit", "deit_tiny_distilled_patch16_224", VIT, mm_vit, arguments=SMALL_VIT),
    layout(
        "mmpretrain-swin",
        "swin_tiny_patch4_window7_224",
        SWIN,
        mm_swin,
        arguments={**SMALL_SWIN, "img_size": 64, "window_size": 4},
        size=64,
    ),
    layout(
        "mmpretrain-swin",
        "swinv2_tiny_window8_256",
        SWIN,
        mm_swin,
        arguments={**SMALL_SWIN, "img_size": 64, "window_size": 4},
        size=64,
    ),
    layout("mmpretrain-convnext", "convnext_tiny", CONVNEXT, mm_convnext, arguments=SMALL_CONVNEXT),
    layout(
        "mmpretrain-convnext", "convnextv2_tiny", CONVNEXT, mm_convnext, arguments=SMALL_CONVNEXT
    ),
    layout(
        "mmpretrain-mobilenet-v2",
        "mobilenetv2_050",
        INVERTED,
        mm_mobilenet_v2,
        family="mobilenetv2",
    ),
    layout("mmpretrain-vgg", "torchvision:vgg11", VGG, mm_vgg, size=64, is_large=True),
    layout("mmpretrain-vgg", "torchvision:vgg11_bn", VGG, mm_vgg, size=64, is_large=True),
]
