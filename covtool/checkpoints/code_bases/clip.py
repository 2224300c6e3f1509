"""CLIP's visual towers as OpenAI's and OpenCLIP's code names them, and CLIP's images."""

from collections.abc import Mapping
from typing import Any

from covtool.backbones import channel_statistics
from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Rules
from covtool.checkpoints.code_bases.renaming import reshaped, shifted, with_bias

CLIP_INPUT = {
    "mean": channel_statistics.OPENAI_CLIP[0],
    "std": channel_statistics.OPENAI_CLIP[1],
    "interpolation": "bicubic",
}
# What is beside the tower: the one for texts, and how both are compared.
TEXT_TOWER = (
    r"^text(?:_model|_projection|_encoder)?(?:\.|$)",
    r"^(?:transformer|token_embedding|ln_final)\.",
    r"^(?:positional_embedding|logit_scale|logit_bias|attn_mask)$",
    r"^(?:input_resolution|context_length|vocab_size)$",
)
_QUICK, _EXACT = r"quickgelu", r"^(?!.*quickgelu).*clip"
# OpenAI's scripted files have these three numbers among the tensors.
_OPENAI_BUFFERS = ("input_resolution", "context_length", "vocab_size")


def gelu_preference(activation: Any) -> Findings:
    """Return which of timm's CLIP networks come first: with QuickGELU, or with GELU.

    Args:
        activation: Activation that a configuration names; None without one. OpenAI's own weights
            are then assumed, which need QuickGELU.
    """
    if isinstance(activation, str):
        return Findings(prefers=_QUICK if "quick" in activation else _EXACT, input=CLIP_INPUT)
    return Findings(
        prefers=_QUICK,
        input=CLIP_INPUT,
        notes=(
            "QuickGELU is assumed, as in OpenAI's weights: the tensors do not show it. Most of "
            "OpenCLIP's own (LAION, DataComp) were trained with GELU, and give other features with "
            "QuickGELU: choose the network without quickgelu in its name with --arch.",
        ),
    )


def _vit_says(part: Part) -> Findings:
    if any(name.startswith("attn_pool.") for name in part.inside):
        return Findings(
            refusal="It pools by attention as CoCa does, which no network of timm does."
        )
    statement = gelu_preference(_activation(part, part.inner("model_cfg")))
    projected = "proj" in part.inside
    note = "Its outputs are the joint embedding of images and texts, not classes."
    return Findings(
        prefers=statement.prefers,
        input=statement.input,
        notes=(*statement.notes, *(note,) * projected),
    )


def _activation(part: Part, config: Mapping[str, Any]) -> str | None:
    """Return the activation, as OpenAI's or OpenCLIP's own files show it; None where none does."""
    if "quick_gelu" in config:
        return "quick_gelu" if config["quick_gelu"] else "gelu"
    if any(name in part.beside for name in _OPENAI_BUFFERS):
        return "quick_gelu"
    if any(name.startswith("text.") for name in part.beside):
        return "gelu"  # OpenCLIP's own class for towers that OpenAI did not have
    return None


def _trunk_says(part: Part) -> Findings:
    note = (
        "The projection into the joint embedding of images and texts is not used: the features "
        "are those in front of it."
    )
    projected = any(name.startswith("visual.head.") for name in part.inside)
    return Findings(input=CLIP_INPUT, notes=(note,) * projected)


def _resnet_says(part: Part) -> Findings:
    note = "Its outputs are the joint embedding of images and texts, not classes."
    return Findings(input=CLIP_INPUT, notes=(note,))


_VIT: Rules = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^proj$", "head.weight"),  # (width, outputs): the step below transposes it
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.ls_(\d)\.", r".ls\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_RESNET: Rules = (
    (r"^attnpool\.positional_embedding$", "head.pos_embed"),
    (r"^attnpool\.([qkv])_proj\.", r"head.\1."),
    (r"^attnpool\.c_proj\.", "head.proj."),
    (r"^conv(\d)\.", r"stem.conv\1.conv."),
    (r"^bn(\d)\.", r"stem.conv\1.bn."),
    (r"^layer(\d)\.(\d+)\.", r"stages.\1.\2."),
    (r"^(stages.*)\.downsample\.0\.", r"\1.shortcut.conv.conv."),
    (r"^(stages.*)\.downsample\.1\.", r"\1.shortcut.conv.bn."),
    (r"^(stages.*)\.conv2\.", r"\1.conv2_kxk.conv."),
    (r"^(stages.*)\.bn2\.", r"\1.conv2_kxk.bn."),
    (r"^(stages.*)\.conv([13])\.", r"\1.conv\2_1x1.conv."),
    (r"^(stages.*)\.bn([13])\.", r"\1.conv\2_1x1.bn."),
)

ROWS = (
    CodeBase(
        name="clip-vit",
        summary="the ViT of OpenAI's and OpenCLIP's CLIP",
        source="openai/CLIP, mlfoundations/open_clip",
        signs=(
            r"class_embedding$",
            r"transformer\.resblocks\.0\.attn\.in_proj_weight$",
            r"ln_pre\.weight$",
        ),
        rules=_VIT,
        steps=(
            reshaped(r"^cls_token$", lambda t: t.reshape(1, 1, -1)),
            reshaped(r"^pos_embed$", lambda t: t[None]),
            reshaped(r"^head\.weight$", lambda t: t.T),
            with_bias("head"),
        ),
        unused_beside=TEXT_TOWER,
        says=_vit_says,
    ),
    CodeBase(
        name="clip-resnet",
        summary="the ResNet of OpenAI's and OpenCLIP's CLIP",
        source="openai/CLIP, mlfoundations/open_clip",
        signs=(r"attnpool\.positional_embedding$", r"layer1\.0\.conv1\.weight$"),
        rules=_RESNET,
        # Stages count from 1 as in torchvision, in timm's ByobNet from 0.
        steps=(shifted(r"^stages\.(?P<n>\d)\.", "stages.{n}.", -1),),
        unused_beside=TEXT_TOWER,
        says=_resnet_says,
    ),
    CodeBase(
        name="clip-timm",
        summary="OpenCLIP's towers that are networks of timm's",
        source="mlfoundations/open_clip",
        signs=(r"visual\.trunk\.(?:patch_embed|stem|conv1)\.", r"logit_scale$"),
        rules=((r"^visual\.trunk\.", ""),),
        # timm's network is built without a head there; the projection stands behind it.
        unused=(r"^visual\.head\.", *TEXT_TOWER),
        says=_trunk_says,
    ),
)
