"""Checkpoints under other code bases' names: transformers, MMPretrain, CLIP, Detectron2, ..."""

from covtool.checkpoints.code_bases.code_base import CodeBase, Reading
from covtool.checkpoints.code_bases.normalizers import Normalized, take_normalizer
from covtool.checkpoints.code_bases.reading import read_code_bases
from covtool.checkpoints.code_bases.reparametrizations import fold_reparametrizations
from covtool.checkpoints.code_bases.table import CODE_BASES
from covtool.checkpoints.code_bases.timm_filters import (
    timm_arguments,
    timm_candidates,
    timm_filtered,
)
from covtool.checkpoints.code_bases.unread import named_code_base

__all__ = [
    "CODE_BASES",
    "CodeBase",
    "Normalized",
    "Reading",
    "fold_reparametrizations",
    "named_code_base",
    "read_code_bases",
    "take_normalizer",
    "timm_arguments",
    "timm_candidates",
    "timm_filtered",
]
