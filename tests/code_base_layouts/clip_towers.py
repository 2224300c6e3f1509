"""CLIP's visual towers in OpenAI's and OpenCLIP's names."""

import torch

from code_base_layouts.architectures import CLIP, CLIP_RESNET, SMALL_VIT, TEXTS, VIT
from code_base_layouts.layout import State, layout, sub, under


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


def clip_timm(state: State) -> dict[str, torch.Tensor]:
    return {f"visual.trunk.{name}": tensor for name, tensor in state.items()}


LAYOUTS = [
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
    layout(
        "clip-timm",
        "vit_tiny_patch16_224",
        VIT,
        clip_timm,
        arguments={**SMALL_VIT, "num_classes": 0},
        beside={**TEXTS, "visual.head.proj.weight": (8, 32)},
    ),
]
