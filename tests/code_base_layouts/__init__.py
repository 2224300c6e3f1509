"""Layouts of other code bases, a row each, and how each is written from timm's names.

The rows of transformers (4.57 and 5.24), MMPretrain (1.2), OpenCLIP (3.3) and EfficientNet-PyTorch
were compared with what these packages themselves write and compute; those of the others follow
their published code. All are written from timm's side, apart from the rows under test.
"""

from code_base_layouts import (
    clip_towers,
    mmpretrain,
    torchvision_like,
    transformers_attention,
    transformers_convolution,
)
from code_base_layouts.clip_towers import clip_vit
from code_base_layouts.layout import Layout, sub
from code_base_layouts.torchvision_like import by_index, detectron2

LAYOUTS = [
    *transformers_attention.LAYOUTS,
    *transformers_convolution.LAYOUTS,
    *clip_towers.LAYOUTS,
    *mmpretrain.LAYOUTS,
    *torchvision_like.LAYOUTS,
]

__all__ = ["LAYOUTS", "Layout", "by_index", "clip_vit", "detectron2", "sub"]
