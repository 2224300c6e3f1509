"""Closed, validated records. They import neither torch nor timm: the command line needs them."""

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
    "BaseSpec",
    "HeadSpec",
    "InputSpec",
    "LastStrideSpec",
    "Metric",
    "Operation",
    "Provenance",
    "Recipe",
    "Record",
]
