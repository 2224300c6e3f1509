"""Surgery in two steps: plan (changes nothing), then apply (returns a changed copy)."""

from covtool.surgery.calibrated import CalibrationResult, ChannelMoments, HeadFit
from covtool.surgery.calibration import (
    calibrate_head_,
    channel_moments,
    fit_head_,
    refit_classifier_,
)
from covtool.surgery.convolutions import (
    ConvolutionsPlan,
    apply_convolutions,
    plan_convolutions,
)
from covtool.surgery.eigenlayer import EigenlayerPlan, apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import HeadPlan, apply_head, branches_of, plan_head, pooling_of
from covtool.surgery.instance_batch_norm import (
    InstanceBatchNormPlan,
    apply_instance_batch_norm,
    plan_instance_batch_norm,
)
from covtool.surgery.last_stride import LastStridePlan, apply_last_stride, plan_last_stride
from covtool.surgery.neck import NeckPlan, apply_neck, plan_neck
from covtool.surgery.operations import OPERATIONS, OperationRow
from covtool.surgery.patch_stride import PatchStridePlan, apply_patch_stride, plan_patch_stride
from covtool.surgery.rebuild import rebuild
from covtool.surgery.stem import StemPlan, apply_stem, plan_stem

__all__ = [
    "OPERATIONS",
    "CalibrationResult",
    "ChannelMoments",
    "ConvolutionsPlan",
    "EigenlayerPlan",
    "HeadFit",
    "HeadPlan",
    "InstanceBatchNormPlan",
    "LastStridePlan",
    "NeckPlan",
    "OperationRow",
    "PatchStridePlan",
    "StemPlan",
    "apply_convolutions",
    "apply_eigenlayer",
    "apply_head",
    "apply_instance_batch_norm",
    "apply_last_stride",
    "apply_neck",
    "apply_patch_stride",
    "apply_stem",
    "branches_of",
    "calibrate_head_",
    "channel_moments",
    "fit_head_",
    "plan_convolutions",
    "plan_eigenlayer",
    "plan_head",
    "plan_instance_batch_norm",
    "plan_last_stride",
    "plan_neck",
    "plan_patch_stride",
    "plan_stem",
    "pooling_of",
    "rebuild",
    "refit_classifier_",
]
