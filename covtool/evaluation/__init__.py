"""Figures of models on labeled images."""

from covtool.evaluation.classification.accuracy import ClassificationResult, evaluate_classification
from covtool.evaluation.classification.class_matching import ClassMatch, match_classes
from covtool.evaluation.features.feature_set import FeatureSet
from covtool.evaluation.retrieval.ranking import RetrievalResult, evaluate_retrieval

__all__ = [
    "ClassMatch",
    "ClassificationResult",
    "FeatureSet",
    "RetrievalResult",
    "evaluate_classification",
    "evaluate_retrieval",
    "match_classes",
]
