"""Layouts of other code bases, made from timm's and torchvision's names by renamings of their own.

Each was compared with what the code base itself writes (transformers 4.57, mmpretrain 1.2,
open_clip 3.3), logits included. They are written from timm's side, apart from the rows under test.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A code base's names for an architecture.

    Attributes:
        code_base: Row of the table that must read it.
        architecture: timm's name, or ``torchvision:NAME``.
        arguments: That make it small.
        size: Height and width of the images to compare with.
        names: All names of an architecture of this layout match it, for the sweep.
        family: What the names of its architectures begin with, where several kinds share tensors.
        write: From timm's names to the others.
        beside: Names in the file that are no part of the network, with their shapes.
    """

    code_base: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    size: int = 32
    names: str
    family: str = ""
    write: Callable[[State], dict[str, torch.Tensor]]
    beside: dict[str, tuple[int, ...]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    is_large: bool = False


def sub(state: State, *rules: tuple[str, str | Callable]) -> dict[str, torch.Tensor]:
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def apart(state: State, whole: str, *parts: str) -> dict[str, torch.Tensor]:
    """A joined layer in its parts."""
    result = {}
    for name, tensor in state.items():
        if f".{whole}." in name:
            for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
                result[name.replace(f".{whole}.", f".{part}.")] = piece
        else:
            result[name] = tensor
    return result


def number(step: int) -> Callable[[re.Match], str]:
    return lambda match: f"{match[1]}{int(match[2]) + step}{match[3]}"


BERT = (
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.q_bias$", ".attention.attention.query.bias"),
    (r"\.attn\.v_bias$", ".attention.attention.value.bias"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
EMBEDDINGS = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
)
BERT_MLP = (
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)


def under(prefix: str, state: State, *heads: str) -> dict[str, torch.Tensor]:
    return {n if n.startswith(heads) else f"{prefix}{n}": t for n, t in state.items()}


def transformers_vit(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "query", "key", "value")
    head = "cls_classifier." if "dist_token" in state else "classifier."
    rules = (
        (r"^head\.", head),
        (r"^head_dist\.", "distillation_classifier."),
        (r"^norm\.", "layernorm."),
    )
    new = sub(parted, *rules, *EMBEDDINGS, *BERT, *BERT_MLP)
    return under("vit.", new, "classifier", "cls_classifier", "distillation_classifier")


def transformers_beit(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "query", "key", "value")
    table = ".attention.attention.relative_position_bias.relative_position_bias_table"
    rules = (
        (r"^head\.", "classifier."),
        (r"^fc_norm\.", "pooler.layernorm."),
        (r"\.gamma_(\d)$", r".lambda_\1"),
        (r"\.attn\.relative_position_bias_table$", table),
    )
    return under("beit.", sub(parted, *rules, *EMBEDDINGS, *BERT, *BERT_MLP), "classifier")


def transformers_dinov2(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "query", "key", "value")
    state = dict(parted)
    if "reg_token" in state:  # the class token has no position of its own in timm
        width = state["cls_token"].shape[-1]
        first = torch.full((1, 1, width), 0.25, device=state["cls_token"].device)
        state["embeddings.register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([first, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - first
    rules = (
        (r"^norm\.", "layernorm."),
        (r"^head\.", "classifier."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    )
    new = sub(state, *rules, *EMBEDDINGS, *BERT)
    new["embeddings.mask_token"] = torch.zeros(1, 4)
    return under("dinov2.", new, "classifier")


def transformers_dinov3(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "q_proj", "k_proj", "v_proj")
    return sub(
        parted,
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^reg_token$", "embeddings.register_tokens"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"^blocks\.", "layer."),
        (r"\.gamma_(\d)$", r".layer_scale\1.lambda1"),
        (r"\.attn\.([qv])_bias$", r".attention.\1_proj.bias"),
        (r"\.attn\.([qkv]_proj)\.", r".attention.\1."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.mlp\.fc1_g\.", ".mlp.gate_proj."),
        (r"\.mlp\.fc1(?:_x)?\.", ".mlp.up_proj."),
        (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    )


def transformers_swin(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "query", "key", "value")
    new = sub(
        parted,
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^patch_embed\.norm\.", "embeddings.norm."),
        (r"^norm\.", "layernorm."),
        (r"^head\.fc\.", "classifier."),
        (r"^(layers\.)(\d)(\.downsample\.)", number(-1)),
        (r"^layers\.", "encoder.layers."),
        (r"\.attn\.cpb_mlp\.", ".attention.self.continuous_position_bias_mlp."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.attn\.q_bias$", ".attention.self.query.bias"),
        (r"\.attn\.v_bias$", ".attention.self.value.bias"),
        (r"\.attn\.", ".attention.self."),
        *BERT_MLP,
    )
    return under("swin.", new, "classifier")


def version_5(write: Callable[[State], dict]) -> Callable[[State], dict[str, torch.Tensor]]:
    """The names that transformers has in memory since its version 5."""

    def written(state: State) -> dict[str, torch.Tensor]:
        new = sub(
            write(state),
            (r"\.attention\.(?:attention|self)\.query\.", ".attention.q_proj."),
            (r"\.attention\.(?:attention|self)\.key\.", ".attention.k_proj."),
            (r"\.attention\.(?:attention|self)\.value\.", ".attention.v_proj."),
            (r"\.attention\.output\.dense\.", ".attention.o_proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"\.output\.dense\.", ".mlp.fc2."),
            (r"\.self\.(relative_position_bias_table)$", r".relative_position_bias.\1"),
            (r"\.attention\.attention\.relative_position_bias\.", ".relative_position_bias."),
            (r"^layer\.", "model.layer."),
        )
        if not any(name.startswith(("dinov2.", "swin.")) for name in new):
            new = sub(new, (r"\.encoder\.layer\.", ".layers."))
        return new

    return written


def transformers_clip(state: State) -> dict[str, torch.Tensor]:
    parted = apart(state, "qkv", "q_proj", "k_proj", "v_proj")
    new = sub(
        {n: t for n, t in parted.items() if n != "head.bias"},
        (r"^cls_token$", "embeddings.class_embedding"),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."),
        (r"^head\.", "visual_projection."),
        (r"^blocks\.", "encoder.layers."),
        (r"\.attn\.([qkv]_proj)\.", r".self_attn.\1."),
        (r"\.attn\.proj\.", ".self_attn.out_proj."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
    )
    new["embeddings.class_embedding"] = new["embeddings.class_embedding"].flatten()
    new["embeddings.position_embedding.weight"] = new["embeddings.position_embedding.weight"][0]
    return under("vision_model.", new, "visual_projection")


def transformers_siglip(state: State) -> dict[str, torch.Tensor]:
    state = dict(state)
    for leaf in ("weight", "bias") if "attn_pool.q.weight" in state else ():
        pair = [state.pop(f"attn_pool.{part}.{leaf}") for part in ("q", "kv")]
        state[f"head.attention.in_proj_{leaf}"] = torch.cat(pair)
    parted = apart(state, "qkv", "q_proj", "k_proj", "v_proj")
    new = sub(
        parted,
        (r"^head\.(weight|bias)$", r"classifier.\1"),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm\.", "post_layernorm."),
        (r"^blocks\.", "encoder.layers."),
        (r"\.attn\.([qkv]_proj)\.", r".self_attn.\1."),
        (r"\.attn\.proj\.", ".self_attn.out_proj."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"^attn_pool\.latent$", "head.probe"),
        (r"^attn_pool\.proj\.", "head.attention.out_proj."),
        (r"^attn_pool\.norm\.", "head.layernorm."),
        (r"^attn_pool\.mlp\.", "head.mlp."),
    )
    new["embeddings.position_embedding.weight"] = new["embeddings.position_embedding.weight"][0]
    return under("vision_model.", new, "classifier")


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


def clip_vit(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        {n: t for n, t in state.items() if n != "head.bias"},
        (r"^cls_token$", "class_embedding"),
        (r"^pos_embed$", "positional_embedding"),
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^head\.weight$", "proj"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.norm(\d)\.", r".ln_\1."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    )
    new["class_embedding"] = new["class_embedding"].flatten()
    new["positional_embedding"] = new["positional_embedding"][0]
    new["proj"] = new["proj"].T
    return under("visual.", new, "none of them")


def clip_resnet(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^head\.pos_embed$", "attnpool.positional_embedding"),
        (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
        (r"^head\.proj\.", "attnpool.c_proj."),
        (r"^stem\.(conv\d)\.conv\.", r"\1."),
        (r"^stem\.conv(\d)\.bn\.", r"bn\1."),
        (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
        (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
        (r"\.conv(\d)_(?:1x1|kxk)\.conv\.", r".conv\1."),
        (r"\.conv(\d)_(?:1x1|kxk)\.bn\.", r".bn\1."),
        (r"^stages\.(\d)\.", lambda m: f"layer{int(m[1]) + 1}."),
    )
    return under("visual.", new, "none of them")


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


def detectron2(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^conv1\.", "stem.conv1."),
        (r"^bn1\.", "stem.conv1.norm."),
        (r"^(layer.*)\.bn(\d)\.", r"\1.conv\2.norm."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}."),
        (r"^fc\.", "linear."),
    )
    return under("backbone.bottom_up.", new, "none of them")


def vissl(state: State) -> dict[str, torch.Tensor]:
    return {n if n.startswith("fc.") else f"trunk._feature_blocks.{n}": t for n, t in state.items()}


def by_index(state: State) -> dict[str, torch.Tensor]:
    children = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7, "fc": 9}
    return sub(state, (r"^(\w+)\.", lambda m: f"backbone.{children[m[1]]}."))


def densenet_features(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"^features\.", "0."))


def features_by_index(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"^features\.", "backbone.0."), (r"^classifier\.", "backbone.classifier."))


def clip_timm(state: State) -> dict[str, torch.Tensor]:
    return {f"visual.trunk.{name}": tensor for name, tensor in state.items()}


def densenet_dotted(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2."))


LEAF = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
RESNET = rf"(conv1|bn1|layer\d\.\d+\.(conv\d|bn\d|downsample\.[01])|fc){LEAF}"
MM_RESNET = (
    rf"(conv1(\.[01346])?|bn1|layer\d\.\d+\.(conv\d|bn\d|se\.fc\d|downsample\.[012])|fc){LEAF}"
)
BLOCK = r"blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)"
VIT = rf"cls_token|dist_token|pos_embed|(patch_embed\.proj|norm|head|head_dist){LEAF}|{BLOCK}"
BEIT = (
    rf"cls_token|(patch_embed\.proj|norm|fc_norm|head){LEAF}|{BLOCK}|"
    r"blocks\.\d+\.(gamma_\d|attn\.([qv]_bias|relative_position_bias_table))"
)
DINOV2 = rf"{VIT}|reg_token|blocks\.\d+\.ls\d\.gamma"
DINOV3 = (
    rf"cls_token|reg_token|(patch_embed\.proj|norm){LEAF}|{BLOCK}|"
    r"blocks\.\d+\.(gamma_\d|attn\.[qv]_bias|mlp\.fc1_[gx]\.(weight|bias))|head\..*"
)
SWIN_BLOCK = r"(norm[12]|mlp\.fc[12]|attn\.(qkv|proj|cpb_mlp\.[02]))\.(weight|bias)"
SWIN = (
    rf"(patch_embed\.(proj|norm)|norm|head\.fc){LEAF}|layers\.\d\.blocks\.\d+\.{SWIN_BLOCK}|"
    r"layers\.\d\.blocks\.\d+\.attn\.(relative_position_bias_table|logit_scale|[qv]_bias)|"
    r"layers\.[1-3]\.downsample\.(reduction|norm)\.(weight|bias)"
)
CLIP = rf"cls_token|pos_embed|(patch_embed\.proj|norm_pre|norm|head){LEAF}|{BLOCK}"
SIGLIP = rf"pos_embed|(patch_embed\.proj|norm|head){LEAF}|{BLOCK}"
POOL = r"attn_pool\.(latent|(q|kv|proj|norm|mlp\.fc[12])\.(weight|bias))"
REGNET = rf"(stem\.(conv|bn)|s\d\.b\d+\.((conv\d|downsample)\.(conv|bn)|se\.fc\d)|head\.fc){LEAF}"
CONVNEXT = (
    r"(stem\.[01]|stages\.\d\.downsample\.[01]|head\.(norm|fc)|"
    rf"stages\.\d\.blocks\.\d+\.(conv_dw|norm|mlp\.(fc[12]|grn))){LEAF}|"
    r"stages\.\d\.blocks\.\d+\.gamma"
)
POOLFORMER = (
    r"(stem\.conv|stages\.\d\.downsample\.conv|head\.(norm|fc)|"
    rf"stages\.\d\.blocks\.\d+\.(norm\d|mlp\.fc\d)){LEAF}|"
    r"stages\.\d\.blocks\.\d+\.layer_scale\d\.scale"
)
PVT = (
    r"(patch_embed\.(proj|norm)|stages\.\d\.(downsample\.(proj|norm)|norm)|head|"
    rf"stages\.\d\.blocks\.\d+\.(norm\d|attn\.(q|kv|proj|sr|norm)|mlp\.(fc\d|dwconv))){LEAF}"
)
FOCALNET = (
    r"(stem\.(proj|norm)|layers\.\d\.downsample\.(proj|norm)|norm|head\.fc|layers\.\d\.blocks\.\d+"
    rf"\.(norm\d|mlp\.fc\d|modulation\.(f|h|proj|focal_layers\.\d\.0))){LEAF}"
)
BIT = (
    r"(stem\.conv|norm|head\.fc|stages\.\d\.blocks\.\d+\.(norm\d|conv\d|downsample\.conv))"
    r"\.(weight|bias)"
)
INVERTED = (
    r"(conv_stem|bn[12]|conv_head|classifier|blocks\.\d\.\d+\."
    rf"(conv_(pw|dw|pwl)|bn[123]|se\.conv_(reduce|expand))){LEAF}"
)
CLIP_RESNET = (
    r"head\.pos_embed|(head\.([qkv]|proj)|stem\.conv\d\.(conv|bn)|stages\.\d\.\d+\."
    rf"(shortcut\.conv|conv[123]_(1x1|kxk))\.(conv|bn)){LEAF}"
)
VGG = r"(features\.\d+|classifier\.[036])" + LEAF
DENSENET = (
    r"(features\.(conv0|norm0|norm5|transition\d\.(norm|conv)|"
    rf"denseblock\d\.denselayer\d+\.(norm|conv)\d)|classifier){LEAF}"
)

TORCHVISION_MOBILE = rf"(features\.[\w.]+|classifier\.1){LEAF}"

SMALL_RESNET = {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "num_classes": 5}
SMALL_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "num_classes": 5}
SMALL_SWIN = {"embed_dim": 16, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 2), "num_classes": 5}
SMALL_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32), "num_classes": 5}
TENSORFLOW = {"pad_type": "same", "bn_eps": 1e-3, "num_classes": 5}
TEXTS = {
    "positional_embedding": (7, 8),
    "text_projection": (8, 8),
    "logit_scale": (),
    "transformer.resblocks.0.ln_1.weight": (8,),
    "token_embedding.weight": (11, 8),
}


def layout(code_base: str, architecture: str, names: str, write: Callable, **others: Any) -> Layout:
    return Layout(
        code_base=code_base, architecture=architecture, names=names, write=write, **others
    )


LAYOUTS = [
    layout("transformers-vit", "vit_tiny_patch16_224", VIT, transformers_vit, arguments=SMALL_VIT),
    layout(
        "transformers-vit",
        "deit_tiny_distilled_patch16_224",
        VIT,
        transformers_vit,
        arguments=SMALL_VIT,
    ),
    layout(
        "transformers-beit", "beit_base_patch16_224", BEIT, transformers_beit, arguments=SMALL_VIT
    ),
    layout(
        "transformers-dinov2",
        "vit_small_patch14_dinov2",
        DINOV2,
        transformers_dinov2,
        arguments={**SMALL_VIT, "img_size": 28},
        size=28,
    ),
    layout(
        "transformers-dinov2",
        "vit_small_patch14_reg4_dinov2",
        DINOV2,
        transformers_dinov2,
        arguments={**SMALL_VIT, "img_size": 28},
        size=28,
    ),
    layout(
        "transformers-dinov3",
        "vit_small_patch16_dinov3_qkvb",
        DINOV3,
        transformers_dinov3,
        arguments={**SMALL_VIT, "num_classes": 0, "global_pool": "token"},
    ),
    layout(
        "transformers-dinov3",
        "vit_small_plus_patch16_dinov3",
        DINOV3,
        transformers_dinov3,
        arguments={**SMALL_VIT, "num_classes": 0, "global_pool": "token"},
    ),
    layout(
        "transformers-swin",
        "swin_tiny_patch4_window7_224",
        SWIN,
        transformers_swin,
        arguments={**SMALL_SWIN, "img_size": 64, "window_size": 4},
        size=64,
    ),
    layout(
        "transformers-swin",
        "swinv2_tiny_window8_256",
        SWIN,
        transformers_swin,
        arguments={**SMALL_SWIN, "img_size": 64, "window_size": 4},
        size=64,
    ),
    layout(
        "transformers-clip",
        "vit_base_patch16_clip_quickgelu_224",
        CLIP,
        transformers_clip,
        arguments=SMALL_VIT,
        beside={"logit_scale": (), "text_model.embeddings.token_embedding.weight": (11, 8)},
        without=("head.bias",),
    ),
    layout(
        "transformers-siglip",
        "vit_base_patch16_siglip_224",
        rf"{SIGLIP}|{POOL}",
        transformers_siglip,
        arguments={**SMALL_VIT, "num_classes": 0, "act_layer": "gelu_tanh"},
    ),
    layout(
        "transformers-siglip",
        "vit_base_patch16_siglip_gap_224",
        SIGLIP,
        transformers_siglip,
        arguments={**SMALL_VIT, "act_layer": "gelu_tanh"},
    ),
    *(
        layout(
            f"transformers-{name}",
            architecture,
            names,
            version_5(write),
            arguments=arguments,
            size=arguments["img_size"],
        )
        for name, architecture, names, write, arguments in (
            ("vit", "vit_tiny_patch16_224", VIT, transformers_vit, SMALL_VIT),
            ("beit", "beit_base_patch16_224", BEIT, transformers_beit, SMALL_VIT),
            (
                "dinov2",
                "vit_small_patch14_dinov2",
                DINOV2,
                transformers_dinov2,
                {**SMALL_VIT, "img_size": 28},
            ),
            (
                "swin",
                "swin_tiny_patch4_window7_224",
                SWIN,
                transformers_swin,
                {**SMALL_SWIN, "img_size": 64, "window_size": 4},
            ),
            (
                "dinov3",
                "vit_small_patch16_dinov3_qkvb",
                DINOV3,
                transformers_dinov3,
                {**SMALL_VIT, "num_classes": 0, "global_pool": "token"},
            ),
        )
    ),
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
    layout(
        "clip-vit",
        "vit_base_patch16_clip_quickgelu_224",
        CLIP,
        clip_vit,
        arguments=SMALL_VIT,
        beside=TEXTS,
        without=("head.bias",),
    ),
    layout(
        "clip-resnet",
        "resnet50_clip",
        CLIP_RESNET,
        clip_resnet,
        size=224,
        beside=TEXTS,
        is_large=True,
    ),
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
    layout("detectron2", "resnet18", RESNET, detectron2, arguments=SMALL_RESNET),
    layout("detectron2", "resnet50", RESNET, detectron2, arguments=SMALL_RESNET),
    layout("vissl", "resnet50", RESNET, vissl, arguments=SMALL_RESNET),
    layout("resnet-by-index", "resnet18", RESNET, by_index, arguments=SMALL_RESNET),
    layout(
        "densenet-features", "torchvision:densenet121", DENSENET, densenet_features, is_large=True
    ),
    layout(
        "features-by-index",
        "torchvision:mobilenet_v2",
        TORCHVISION_MOBILE,
        features_by_index,
        family="mobilenet_v2|efficientnet",
    ),
    layout(
        "features-by-index",
        "torchvision:efficientnet_b0",
        TORCHVISION_MOBILE,
        features_by_index,
        family="mobilenet_v2|efficientnet",
        is_large=True,
    ),
    layout(
        "clip-timm",
        "vit_tiny_patch16_224",
        VIT,
        clip_timm,
        arguments={**SMALL_VIT, "num_classes": 0},
        beside={**TEXTS, "visual.head.proj.weight": (8, 32)},
    ),
    layout("densenet-dotted", "torchvision:densenet121", DENSENET, densenet_dotted, is_large=True),
]
