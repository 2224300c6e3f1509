"""Transformers' networks with attention: ViT, DeiT, BEiT, DINOv2, DINOv3, CLIP, SigLIP, Swin."""

from covtool.backbones import channel_statistics
from covtool.checkpoints.code_bases.clip import TEXT_TOWER, gelu_preference
from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Rules, Tensors
from covtool.checkpoints.code_bases.renaming import joined, reshaped, shifted, with_bias

SOURCE = "huggingface/transformers"

# BERT's names for the parts of a block, which transformers' first image networks took over, and
# those that version 5 has in their place (in memory; it still writes files under the old ones).
_BERT_BLOCK: Rules = (
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.(?:attention|self)\.(query|key|value)\.", r".attn.\1."),
    # Before the MLP's `.output.dense.`, which is the end of this name.
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)
_EMBEDDINGS: Rules = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
    (r"^(?:encoder\.layer|layers|(?:model\.)?layer)\.", "blocks."),
    (r"^layernorm\.", "norm."),
)
_TIMM_EPS = 1e-6
_QKV = joined("qkv", "query", "key", "value")


def _without_key_bias(tensors: Tensors) -> dict:
    """Rename biases where keys have none (BEiT, SwinV2): timm keeps them out of the joined one."""
    ends = {".attn.query.bias": ".attn.q_bias", ".attn.value.bias": ".attn.v_bias"}

    def changed(name: str) -> str:
        end = next((end for end in ends if name.endswith(end)), None)
        return name.removesuffix(end) + ends[end] if end else name

    return {changed(name): tensor for name, tensor in tensors.items()}


def _registers(tensors: Tensors) -> dict:
    """Add the class token's position to DINOv2's with registers once and for all, as timm does."""
    if "register_tokens" not in tensors:
        return dict(tensors)
    position = tensors["pos_embed"]
    changed = {
        "cls_token": tensors["cls_token"] + position[:, :1],
        "pos_embed": position[:, 1:],
    }
    names = {"register_tokens": "reg_token"}
    return {names.get(n, n): changed.get(n, t) for n, t in tensors.items()}


def _layer_norms(part: Part) -> Findings:
    """Return the epsilon, which no tensor holds: timm's is that of these networks' first code."""
    if part.config.get("layer_norm_eps") == _TIMM_EPS:
        return Findings()
    return Findings(
        notes=(
            "Layer norms add 1e-6 to the variance, as timm's do; transformers adds 1e-12 unless "
            "its configuration says otherwise.",
        )
    )


def _vit_says(part: Part) -> Findings:
    """Leave out a classifier that reads one of two tokens: no network of timm's has such."""
    notes = _layer_norms(part).notes
    if "embeddings.distillation_token" not in part.inside or "classifier.weight" not in part.beside:
        return Findings(notes=notes)
    return Findings(
        unused=("classifier.weight", "classifier.bias"),
        notes=(
            *notes,
            "The classifier is not used: DeiTForImageClassification reads the class token alone, "
            "timm's distilled DeiT needs a second classifier for the distillation token.",
        ),
    )


def _dinov2_says(part: Part) -> Findings:
    # transformers' classifier may read more than the class token: it takes more numbers then.
    width = part.inside["embeddings.cls_token"].shape[-1]
    head = part.beside.get("classifier.weight")
    if head is None or head.shape[-1] == width:
        return Findings()
    return Findings(
        unused=("classifier.weight", "classifier.bias"),
        notes=(
            "The classifier is not used: transformers' DINOv2 classifies class token and mean of "
            f"the patches together ({head.shape[-1]} numbers), timm's the class token ({width}).",
        ),
    )


def _gated(tensors: Tensors) -> dict:
    """Name the first layer of DINOv3's MLP, which has another name in timm where it is gated."""
    gated = any(".mlp.fc1_g." in name for name in tensors)
    name_in_timm = ".mlp.fc1_x." if gated else ".mlp.fc1."
    return {name.replace(".mlp.up_proj.", name_in_timm): t for name, t in tensors.items()}


def _dinov3_says(part: Part) -> Findings:
    """State that DINOv3 is read at its class token; timm pools the patches by default."""
    return Findings(arguments={"global_pool": "token"})


def _clip_says(part: Part) -> Findings:
    statement = gelu_preference(part.inner("vision_config").get("hidden_act"))
    if "classifier.weight" not in part.beside:
        return statement
    return Findings(
        prefers=statement.prefers,
        input=statement.input,
        unused=("classifier.weight", "classifier.bias"),
        notes=(
            *statement.notes,
            "The classifier is not used: CLIPForImageClassification reads the mean of the patches "
            "before the last norm, which no network of timm does.",
        ),
    )


def _siglip_says(part: Part) -> Findings:
    """Leave out the attention pool where a classifier reads the mean of the patches instead."""
    # No tensor tells which GELU it is: timm's constructor takes it as an argument.
    activation = part.inner("vision_config").get("hidden_act", _TANH)
    arguments = {"act_layer": "gelu_tanh"} if activation == _TANH else {}
    if "classifier.weight" not in part.beside:
        return Findings(arguments=arguments, input=SIGLIP_INPUT)
    pool = tuple(name for name in part.inside if name.startswith("head."))
    return Findings(arguments=arguments, prefers="_gap_", input=SIGLIP_INPUT, unused=pool)


def _siglip_pool(tensors: Tensors) -> dict:
    """Split the attention pool's joined weights as timm does: query, then key and value."""
    result = {}
    for name, tensor in tensors.items():
        if name.startswith("attn_pool.in_proj_"):
            leaf, width = name.removeprefix("attn_pool.in_proj_"), tensor.shape[0] // 3
            result[f"attn_pool.q.{leaf}"] = tensor[:width]
            result[f"attn_pool.kv.{leaf}"] = tensor[width:]
        else:
            result[name] = tensor
    return result


_TANH = "gelu_pytorch_tanh"  # SigLIP's GELU in transformers unless its configuration says otherwise
# SigLIP was trained on images in [-1, 1].
SIGLIP_INPUT = dict(zip(("mean", "std"), channel_statistics.INCEPTION, strict=True))

_CLIP_BLOCK: Rules = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.self_attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    # A typing error of transformers', which all its files keep.
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
)

_SWIN: Rules = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.", ""),
    (r"\.attention\.self\.(logit_scale|relative_position_bias_table)$", r".attn.\1"),
    (r"\.attention\.relative_position_bias\.(relative_position_bias_table)$", r".attn.\1"),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    *_BERT_BLOCK,
    (r"^layernorm\.", "norm."),
)
_SWIN_STEPS = (
    # Joins the biases of Swin; SwinV2 has no key's, so that they are left to the next step.
    _QKV,
    _without_key_bias,
    # A stage ends with the merging of patches there, and begins with it in timm.
    shifted(r"^layers\.(?P<n>\d+)\.downsample\.", "layers.{n}.downsample.", 1),
)
_CLASSIFIER = ((r"^classifier\.", "head."),)

ROWS = (
    CodeBase(
        name="transformers-vit",
        summary="transformers' ViT, DeiT, ViTMAE and ViTMSN",
        source=SOURCE,
        signs=(
            r"embeddings\.cls_token$",
            r"embeddings\.position_embeddings$",
            r"(?:encoder\.layer|layers)\.0\.layernorm_before\.weight$",
        ),
        rules=(*_EMBEDDINGS, *_BERT_BLOCK),
        beside=(
            (r"^(?:cls_)?classifier\.", "head."),
            (r"^distillation_classifier\.", "head_dist."),
        ),
        unused=(r"^embeddings\.mask_token$", r"^pooler\."),
        unused_beside=(r"^decoder\.",),
        steps=(_QKV,),
        says=_vit_says,
    ),
    CodeBase(
        name="transformers-beit",
        summary="transformers' BEiT and Data2Vec vision",
        source=SOURCE,
        signs=(
            r"embeddings\.cls_token$",
            r"(?:encoder\.layer|layers)\.0\.lambda_1$",
            r"(?:encoder\.layer|layers)\.0\.layernorm_before\.weight$",
        ),
        rules=(
            *_EMBEDDINGS,
            *_BERT_BLOCK,
            (r"\.lambda_(\d)$", r".gamma_\1"),
            (
                r"\.(?:attention\.attention\.)?relative_position_bias\.relative_position_bias_table$",
                ".attn.relative_position_bias_table",
            ),
            (r"^pooler\.layernorm\.", "fc_norm."),
        ),
        beside=_CLASSIFIER,
        unused=(r"mask_token$", r"relative_position_index$"),
        steps=(_QKV, _without_key_bias),
        says=_layer_norms,
    ),
    CodeBase(
        name="transformers-dinov2",
        summary="transformers' DINOv2, with and without registers",
        source=SOURCE,
        signs=(
            r"embeddings\.cls_token$",
            r"encoder\.layer\.0\.layer_scale1\.lambda1$",
            r"encoder\.layer\.0\.attention\.(?:attention\.query|q_proj)\.weight$",
        ),
        rules=(
            *_EMBEDDINGS,
            *_BERT_BLOCK,
            (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
            (r"\.mlp\.weights_in\.", ".mlp.fc1."),
            (r"\.mlp\.(?:weights_out|down_proj)\.", ".mlp.fc2."),
        ),
        beside=_CLASSIFIER,
        unused=(r"mask_token$",),
        steps=(_QKV, joined("fc1", "gate_proj", "up_proj"), _registers),
        says=_dinov2_says,
    ),
    CodeBase(
        name="transformers-dinov3",
        summary="transformers' ViT of DINOv3",
        source=SOURCE,
        signs=(
            r"embeddings\.cls_token$",
            r"embeddings\.register_tokens$",
            r"layer\.0\.attention\.o_proj\.weight$",
            r"layer\.0\.layer_scale1\.lambda1$",
        ),
        rules=(
            *_EMBEDDINGS,
            *_BERT_BLOCK,
            (r"^register_tokens$", "reg_token"),
            (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
            (r"\.mlp\.down_proj\.", ".mlp.fc2."),
            (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
        ),
        unused=(r"mask_token$",),
        steps=(_QKV, _without_key_bias, _gated),
        says=_dinov3_says,
    ),
    CodeBase(
        name="transformers-swin",
        summary="transformers' Swin and SwinV2",
        source=SOURCE,
        signs=(
            r"embeddings\.patch_embeddings\.projection\.weight$",
            r"encoder\.layers\.0\.blocks\.0\.attention\.(?:self\.query|q_proj)\.weight$",
        ),
        rules=_SWIN,
        beside=((r"^classifier\.", "head.fc."),),
        unused=(r"mask_token$", r"relative_position_index$", r"relative_coords_table$"),
        steps=_SWIN_STEPS,
    ),
    CodeBase(
        name="transformers-clip",
        summary="the vision tower of transformers' CLIP",
        source=SOURCE,
        signs=(
            r"embeddings\.class_embedding$",
            r"encoder\.layers\.0\.self_attn\.q_proj\.weight$",
            r"pre_layrnorm\.weight$",
        ),
        rules=((r"^embeddings\.class_embedding$", "cls_token"), *_CLIP_BLOCK),
        beside=((r"^visual_projection\.", "head."),),
        unused=(r"position_ids$",),
        unused_beside=TEXT_TOWER,
        steps=(
            joined("qkv", "q", "k", "v"),
            reshaped(r"^cls_token$", lambda t: t.reshape(1, 1, -1)),
            reshaped(r"^pos_embed$", lambda t: t[None]),
            with_bias("head"),
        ),
        says=_clip_says,
    ),
    CodeBase(
        name="transformers-siglip",
        summary="the vision tower of transformers' SigLIP and SigLIP 2",
        source=SOURCE,
        signs=(
            r"embeddings\.patch_embedding\.bias$",
            r"encoder\.layers\.0\.self_attn\.q_proj\.weight$",
            r"post_layernorm\.weight$",
        ),
        rules=(
            *_CLIP_BLOCK,
            (r"^head\.probe$", "attn_pool.latent"),
            (r"^head\.attention\.in_proj_", "attn_pool.in_proj_"),
            (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
            (r"^head\.layernorm\.", "attn_pool.norm."),
            (r"^head\.mlp\.", "attn_pool.mlp."),
        ),
        beside=_CLASSIFIER,
        unused=(r"position_ids$",),
        unused_beside=TEXT_TOWER,
        steps=(
            joined("qkv", "q", "k", "v"),
            reshaped(r"^pos_embed$", lambda t: t[None]),
            _siglip_pool,
        ),
        says=_siglip_says,
    ),
)
