"""Fine-tuning, and gradient centralization for any optimizer."""

from covtool.training.centralization.hooks import centralize_gradients
from covtool.training.repeats.outcome import RepeatsResult
from covtool.training.repeats.repeating import repeat_finetune, resume_repeats
from covtool.training.run.observer import Observer, TrainingPlan
from covtool.training.run.records import EpochRecord, StepRecord
from covtool.training.start.execute import FinetuneResult
from covtool.training.start.find_rate import FoundRate, find_learning_rate
from covtool.training.start.finetune import DryRunResult, finetune, plan_finetune
from covtool.training.start.resume import resume_finetune

__all__ = [
    "DryRunResult",
    "EpochRecord",
    "FinetuneResult",
    "FoundRate",
    "Observer",
    "RepeatsResult",
    "StepRecord",
    "TrainingPlan",
    "centralize_gradients",
    "find_learning_rate",
    "finetune",
    "plan_finetune",
    "repeat_finetune",
    "resume_finetune",
    "resume_repeats",
]
