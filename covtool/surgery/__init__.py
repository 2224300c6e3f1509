"""Surgery in two steps: plan (changes nothing), then apply (returns a changed copy)."""

from covtool.surgery.calibration import CalibrationResult, calibrate_head_
from covtool.surgery.convolutions import (
    ConvolutionsPlan,
    apply_convolutions,
    plan_convolutions,
)
from covtool.surgery.eigenlayer import EigenlayerPlan, apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import HeadPlan, apply_head, plan_head, pooling_of
from covtool.surgery.last_stride import LastStridePlan, apply_last_stride, plan_last_stride
from covtool.surgery.rebuild import rebuild

__all__ = [
    "CalibrationResult",
    "ConvolutionsPlan",
    "EigenlayerPlan",
    "HeadPlan",
    "LastStridePlan",
    "apply_convolutions",
    "apply_eigenlayer",
    "apply_head",
    "apply_last_stride",
    "calibrate_head_",
    "plan_convolutions",
    "plan_eigenlayer",
    "plan_head",
    "plan_last_stride",
    "pooling_of",
    "rebuild",
]
