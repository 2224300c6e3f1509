"""Transformers' networks with attention, as it stores them and as it has them since version 5."""

from collections.abc import Callable

import torch

from code_base_layouts.architectures import (
    BEIT,
    CLIP,
    DINOV2,
    DINOV3,
    POOL,
    SIGLIP,
    SMALL_SWIN,
    SMALL_VIT,
    SWIN,
    VIT,
)
from code_base_layouts.layout import State, apart, layout, number, sub, under

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
]
