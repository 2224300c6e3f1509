"""Figures of models on labeled images."""

from covtool.evaluation.classification import ClassificationResult, evaluate_classification
from covtool.evaluation.feature_set import FeatureSet
from covtool.evaluation.matching import ClassMatch, match_classes
from covtool.evaluation.retrieval import RetrievalResult, evaluate_retrieval

__all__ = [
    "ClassMatch",
    "ClassificationResult",
    "FeatureSet",
    "RetrievalResult",
    "evaluate_classification",
    "evaluate_retrieval",
    "match_classes",
]
