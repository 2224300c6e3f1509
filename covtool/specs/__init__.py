"""Closed, validated records. They import neither torch nor timm: the command line needs them."""

from covtool.specs.augmentation import AugmentationSpec
from covtool.specs.conversion import ConvertSpec
from covtool.specs.input_overrides import InputOverrides
from covtool.specs.recipe import (
    BaseSpec,
    HeadSpec,
    InputSpec,
    LastStrideSpec,
    Metric,
    Operation,
    Provenance,
    Recipe,
    Record,
)

__all__ = [
    "AugmentationSpec",
    "BaseSpec",
    "ConvertSpec",
    "HeadSpec",
    "InputOverrides",
    "InputSpec",
    "LastStrideSpec",
    "Metric",
    "Operation",
    "Provenance",
    "Recipe",
    "Record",
]
