"""Names that the architectures of each layout have, and arguments that make them small."""

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
