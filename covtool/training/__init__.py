"""Fine-tuning, and gradient centralization for any optimizer."""

from covtool.training.finetuning import DryRunResult, finetune, plan_finetune
from covtool.training.gradient_centralization import centralize_gradients
from covtool.training.observer import EpochRecord, Observer, StepRecord, TrainingPlan
from covtool.training.resuming import resume_finetune
from covtool.training.running import FinetuneResult

__all__ = [
    "DryRunResult",
    "EpochRecord",
    "FinetuneResult",
    "Observer",
    "StepRecord",
    "TrainingPlan",
    "centralize_gradients",
    "finetune",
    "plan_finetune",
    "resume_finetune",
]
