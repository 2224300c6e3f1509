"""The code bases whose names are read, as a table."""

from covtool.checkpoints.code_bases import (
    clip,
    mmpretrain,
    numbered_blocks,
    resnets,
    transformers_attention,
    transformers_convolution,
)
from covtool.checkpoints.code_bases.code_base import CodeBase
from covtool.registry import Registry

CODE_BASES: Registry[CodeBase] = Registry(
    "code base",
    [
        *transformers_attention.ROWS,
        *transformers_convolution.ROWS,
        *numbered_blocks.ROWS,
        *clip.ROWS,
        *mmpretrain.ROWS,
        *resnets.ROWS,
    ],
)
