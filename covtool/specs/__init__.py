"""Closed, validated records. They import neither torch nor timm: the command line needs them."""

from covtool.specs.attack import AttackSpec
from covtool.specs.augmentation import AugmentationSpec
from covtool.specs.class_split import ClassSplitSpec
from covtool.specs.conversion import ConvertSpec
from covtool.specs.convolution import ConvolutionSpec
from covtool.specs.faults import FaultSpec
from covtool.specs.finetuning import FinetuneRequest
from covtool.specs.input_overrides import InputOverrides
from covtool.specs.layout import LayoutSpec
from covtool.specs.loading import LoadingSpec
from covtool.specs.model_source import ModelSource
from covtool.specs.objective import ObjectiveSpec
from covtool.specs.operations import EigenlayerSpec, HeadSpec, LastStrideSpec, Operation
from covtool.specs.prediction import PredictionSpec
from covtool.specs.processes import LaunchSpec, ProcessSpec
from covtool.specs.provenance import Metric, Provenance, Untrained
from covtool.specs.recipe import BaseSpec, InputSpec, Recipe
from covtool.specs.record import Record, as_flag
from covtool.specs.reid_operations import (
    InstanceBatchNormSpec,
    NeckSpec,
    PatchStrideSpec,
    StemSpec,
)
from covtool.specs.repeats import RepeatSpec
from covtool.specs.retrieval import FeatureSpec, RetrievalSpec, SearchSpec
from covtool.specs.scores import NeighborSpec, ScoreSpec
from covtool.specs.svdnet import SvdnetSpec, SvdnetTrainingSpec
from covtool.specs.training import TrainingSpec

__all__ = [
    "AttackSpec",
    "AugmentationSpec",
    "BaseSpec",
    "ClassSplitSpec",
    "ConvertSpec",
    "ConvolutionSpec",
    "EigenlayerSpec",
    "FaultSpec",
    "FeatureSpec",
    "FinetuneRequest",
    "HeadSpec",
    "InputOverrides",
    "InputSpec",
    "InstanceBatchNormSpec",
    "LastStrideSpec",
    "LaunchSpec",
    "LayoutSpec",
    "LoadingSpec",
    "Metric",
    "ModelSource",
    "NeckSpec",
    "NeighborSpec",
    "ObjectiveSpec",
    "Operation",
    "PatchStrideSpec",
    "PredictionSpec",
    "ProcessSpec",
    "Provenance",
    "Recipe",
    "Record",
    "RepeatSpec",
    "RetrievalSpec",
    "ScoreSpec",
    "SearchSpec",
    "StemSpec",
    "SvdnetSpec",
    "SvdnetTrainingSpec",
    "TrainingSpec",
    "Untrained",
    "as_flag",
]
