"""Transformers' convolutional networks, and EfficientNet-PyTorch's."""

import re

import torch

from code_base_layouts.architectures import (
    BIT,
    CONVNEXT,
    FOCALNET,
    INVERTED,
    POOLFORMER,
    PVT,
    REGNET,
    RESNET,
    SMALL_CONVNEXT,
    SMALL_RESNET,
    TENSORFLOW,
)
from code_base_layouts.layout import State, apart, layout, number, sub, under


def transformers_resnet(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        (r"^fc\.", "classifier.1."),
        (r"\.downsample\.0\.", ".shortcut.convolution."),
        (r"\.downsample\.1\.", ".shortcut.normalization."),
        (r"^(layer.*\.)conv(\d)\.", lambda m: f"{m[1]}layer.{int(m[2]) - 1}.convolution."),
        (r"^(layer.*\.)bn(\d)\.", lambda m: f"{m[1]}layer.{int(m[2]) - 1}.normalization."),
        (r"^layer(\d)\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}."),
    )
    return under("resnet.", new, "classifier")


def transformers_regnet(state: State) -> dict[str, torch.Tensor]:
    third = 3 if any(".se." in name for name in state) else 2
    numbers = {"1": 0, "2": 1, "3": third}
    new = sub(
        state,
        (r"^stem\.conv\.", "embedder.embedder.convolution."),
        (r"^stem\.bn\.", "embedder.embedder.normalization."),
        (r"^head\.fc\.", "classifier.1."),
        (r"\.downsample\.conv\.", ".shortcut.convolution."),
        (r"\.downsample\.bn\.", ".shortcut.normalization."),
        (r"\.conv(\d)\.conv\.", lambda m: f".layer.{numbers[m[1]]}.convolution."),
        (r"\.conv(\d)\.bn\.", lambda m: f".layer.{numbers[m[1]]}.normalization."),
        (r"\.se\.fc1\.", ".layer.2.attention.0."),
        (r"\.se\.fc2\.", ".layer.2.attention.2."),
        (
            r"^s(\d)\.b(\d+)\.",
            lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{int(m[2]) - 1}.",
        ),
    )
    return under("regnet.", new, "classifier")


def transformers_convnext(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^stem\.0\.", "embeddings.patch_embeddings."),
        (r"^stem\.1\.", "embeddings.layernorm."),
        (r"^head\.fc\.", "classifier."),
        (r"^head\.norm\.", "layernorm."),
        (r"^stages\.(\d)\.downsample\.", r"encoder.stages.\1.downsampling_layer."),
        (r"^stages\.(\d)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
        (r"\.gamma$", ".layer_scale_parameter"),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.norm\.", ".layernorm."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"\.mlp\.grn\.", ".grn."),
    )
    shaped = {n: t[None, None, None] if ".grn." in n else t for n, t in new.items()}
    return under("convnextv2.", shaped, "classifier")


def transformers_dinov3_convnext(state: State) -> dict[str, torch.Tensor]:
    return sub(
        state,
        (r"^stem\.", "stages.0.downsample_layers."),
        (r"\.downsample\.", ".downsample_layers."),
        (r"\.blocks\.", ".layers."),
        (r"^head\.norm\.", "layer_norm."),
        (r"\.conv_dw\.", ".depthwise_conv."),
        (r"\.norm\.", ".layer_norm."),
        (r"\.mlp\.fc(\d)\.", r".pointwise_conv\1."),
    )


def transformers_poolformer(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^stem\.conv\.", "encoder.patch_embeddings.0.projection."),
        (r"^stages\.(\d)\.downsample\.conv\.", r"encoder.patch_embeddings.\1.projection."),
        (r"^stages\.(\d)\.blocks\.(\d+)\.", r"encoder.block.\1.\2."),
        (r"\.layer_scale(\d)\.scale$", r".layer_scale_\1"),
        (r"\.mlp\.fc(\d)\.", r".output.conv\1."),
        (r"\.norm1\.", ".before_norm."),
        (r"\.norm2\.", ".after_norm."),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "classifier."),
    )
    return under("poolformer.", new, "norm.", "classifier.")


def transformers_pvt_v2(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        apart(state, "kv", "key", "value"),
        (r"^patch_embed\.", "encoder.layers.0.patch_embedding."),
        (r"^stages\.(\d)\.downsample\.", r"encoder.layers.\1.patch_embedding."),
        (r"^stages\.(\d)\.norm\.", r"encoder.layers.\1.layer_norm."),
        (r"^stages\.", "encoder.layers."),
        (r"\.patch_embedding\.norm\.", ".patch_embedding.layer_norm."),
        (r"\.attn\.q\.", ".attention.query."),
        (r"\.attn\.sr\.", ".attention.spatial_reduction."),
        (r"\.attn\.norm\.", ".attention.layer_norm."),
        (r"\.attn\.", ".attention."),
        (r"\.norm(\d)\.", r".layer_norm_\1."),
        (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
        (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
        (r"^head\.", "classifier."),
    )
    return under("pvt_v2.", new, "classifier")


def transformers_focalnet(state: State) -> dict[str, torch.Tensor]:
    linear = r"\.modulation\.(f|proj)\.weight|\.mlp\.fc\d\.weight"
    flat = {n: t.flatten(1) if re.search(linear, n) else t for n, t in state.items()}
    new = sub(
        flat,
        (r"^stem\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^stem\.norm\.", "embeddings.norm."),
        (r"^(layers\.)(\d)(\.downsample\.)", number(-1)),
        (r"^layers\.(\d)\.blocks\.", r"encoder.stages.\1.layers."),
        (r"^layers\.(\d)\.downsample\.proj\.", r"encoder.stages.\1.downsample.projection."),
        (r"^layers\.", "encoder.stages."),
        (r"\.modulation\.f\.", ".modulation.projection_in."),
        (r"\.modulation\.h\.", ".modulation.projection_context."),
        (r"\.modulation\.proj\.", ".modulation.projection_out."),
        (r"^norm\.", "layernorm."),
        (r"^head\.fc\.", "classifier."),
    )
    return under("focalnet.", new, "classifier")


def transformers_bit(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^stem\.conv\.", "embedder.convolution."),
        (r"^stages\.(\d)\.blocks\.", r"encoder.stages.\1.layers."),
        (r"^head\.fc\.", "classifier.1."),
    )
    new["classifier.1.weight"] = new["classifier.1.weight"].flatten(1)
    return under("bit.", new, "classifier")


def numbered(state: State, first: int = 0) -> dict[str, torch.Tensor]:
    """Blocks of all stages counted through, their layers named by what they do."""
    found = {
        tuple(map(int, m.groups())) for n in state if (m := re.match(r"blocks\.(\d)\.(\d+)\.", n))
    }
    places = {place: count + first for count, place in enumerate(sorted(found))}
    result = {}
    for name, tensor in state.items():
        if match := re.match(r"blocks\.(\d)\.(\d+)\.(.*)\.(\w+)$", name):
            place = int(match[1]), int(match[2])
            expanded = f"blocks.{match[1]}.{match[2]}.conv_pwl.weight" in state
            layers = EXPANDED if expanded else SEPARABLE
            name = f"BLOCK.{places[place]}.{layers.get(match[3], match[3])}.{match[4]}"
        result[name] = tensor
    return result


EXPANDED = {
    "conv_pw": "EXPAND", "bn1": "EXPAND_BN", "conv_dw": "DW", "bn2": "DW_BN", "conv_pwl": "PW",
    "bn3": "PW_BN",
}  # fmt: skip
SEPARABLE = {"conv_dw": "DW", "bn1": "DW_BN", "conv_pw": "PW", "bn2": "PW_BN"}


def efficientnet_pytorch(state: State) -> dict[str, torch.Tensor]:
    return sub(
        numbered(state),
        (r"^conv_stem\.", "_conv_stem."),
        (r"^bn1\.", "_bn0."),
        (r"^conv_head\.", "_conv_head."),
        (r"^bn2\.", "_bn1."),
        (r"^classifier\.", "_fc."),
        (r"^BLOCK\.", "_blocks."),
        (r"\.EXPAND\.", "._expand_conv."),
        (r"\.EXPAND_BN\.", "._bn0."),
        (r"\.DW\.", "._depthwise_conv."),
        (r"\.DW_BN\.", "._bn1."),
        (r"\.PW\.", "._project_conv."),
        (r"\.PW_BN\.", "._bn2."),
        (r"\.se\.conv_", "._se_"),
    )


def transformers_efficientnet(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        numbered(state),
        (r"^conv_stem\.", "embeddings.convolution."),
        (r"^bn1\.", "embeddings.batchnorm."),
        (r"^conv_head\.", "encoder.top_conv."),
        (r"^bn2\.", "encoder.top_bn."),
        (r"^BLOCK\.", "encoder.blocks."),
        (r"\.EXPAND\.", ".expansion.expand_conv."),
        (r"\.EXPAND_BN\.", ".expansion.expand_bn."),
        (r"\.DW\.", ".depthwise_conv.depthwise_conv."),
        (r"\.DW_BN\.", ".depthwise_conv.depthwise_norm."),
        (r"\.PW\.", ".projection.project_conv."),
        (r"\.PW_BN\.", ".projection.project_bn."),
        (r"\.se\.conv_", ".squeeze_excite."),
    )
    return under("efficientnet.", new, "classifier")


def transformers_mobilenet_v1(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        numbered(state),
        (r"^conv_stem\.", "conv_stem.convolution."),
        (r"^bn1\.", "conv_stem.normalization."),
        (r"^BLOCK\.(\d+)\.DW\.", lambda m: f"layer.{2 * int(m[1])}.convolution."),
        (r"^BLOCK\.(\d+)\.DW_BN\.", lambda m: f"layer.{2 * int(m[1])}.normalization."),
        (r"^BLOCK\.(\d+)\.PW\.", lambda m: f"layer.{2 * int(m[1]) + 1}.convolution."),
        (r"^BLOCK\.(\d+)\.PW_BN\.", lambda m: f"layer.{2 * int(m[1]) + 1}.normalization."),
    )
    return under("mobilenet_v1.", new, "classifier")


def transformers_mobilenet_v2(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        numbered(state, first=-1),
        (r"^conv_stem\.", "conv_stem.first_conv.convolution."),
        (r"^bn1\.", "conv_stem.first_conv.normalization."),
        (r"^conv_head\.", "conv_1x1.convolution."),
        (r"^bn2\.", "conv_1x1.normalization."),
        (r"^BLOCK\.-1\.", "conv_stem."),
        (r"^BLOCK\.", "layer."),
        (r"\.EXPAND\.", ".expand_1x1.convolution."),
        (r"\.EXPAND_BN\.", ".expand_1x1.normalization."),
        (r"\.DW\.", ".conv_3x3.convolution."),
        (r"\.DW_BN\.", ".conv_3x3.normalization."),
        (r"\.PW\.", ".reduce_1x1.convolution."),
        (r"\.PW_BN\.", ".reduce_1x1.normalization."),
    )
    return under("mobilenet_v2.", new, "classifier")


LAYOUTS = [
    layout("transformers-resnet", "resnet18", RESNET, transformers_resnet, arguments=SMALL_RESNET),
    layout("transformers-resnet", "resnet50", RESNET, transformers_resnet, arguments=SMALL_RESNET),
    layout("transformers-regnet", "regnetx_002", REGNET, transformers_regnet),
    layout("transformers-regnet", "regnety_002", REGNET, transformers_regnet),
    layout(
        "transformers-convnext",
        "convnext_tiny",
        CONVNEXT,
        transformers_convnext,
        arguments=SMALL_CONVNEXT,
    ),
    layout(
        "transformers-convnext",
        "convnextv2_tiny",
        CONVNEXT,
        transformers_convnext,
        arguments=SMALL_CONVNEXT,
    ),
    layout(
        "transformers-dinov3-convnext",
        "convnext_tiny",
        CONVNEXT,
        transformers_dinov3_convnext,
        arguments={**SMALL_CONVNEXT, "num_classes": 0},
    ),
    layout(
        "transformers-poolformer",
        "poolformer_s12",
        POOLFORMER,
        transformers_poolformer,
        is_large=True,
    ),
    layout("transformers-pvt-v2", "pvt_v2_b0", PVT, transformers_pvt_v2, is_large=True),
    layout(
        "transformers-focalnet", "focalnet_tiny_srf", FOCALNET, transformers_focalnet, is_large=True
    ),
    layout("transformers-bit", "resnetv2_50x1_bit", BIT, transformers_bit, is_large=True),
    layout(
        "efficientnet-pytorch",
        "tf_efficientnet_b0",
        INVERTED,
        efficientnet_pytorch,
        family="(tf_)?efficientnet_b",
    ),
    layout(
        "transformers-efficientnet",
        "tf_efficientnet_b1",
        INVERTED,
        transformers_efficientnet,
        is_large=True,
        family="(tf_)?efficientnet_b",
    ),
    layout(
        "transformers-mobilenet-v1",
        "mobilenetv1_100",
        INVERTED,
        transformers_mobilenet_v1,
        arguments=TENSORFLOW,
        family="mobilenetv1",
    ),
    layout(
        "transformers-mobilenet-v2",
        "mobilenetv2_050",
        INVERTED,
        transformers_mobilenet_v2,
        arguments=TENSORFLOW,
        family="mobilenetv2",
    ),
    layout(
        "transformers-mobilenet-v2",
        "mobilenetv2_100",
        INVERTED,
        transformers_mobilenet_v2,
        arguments=TENSORFLOW,
        family="mobilenetv2",
    ),
]
