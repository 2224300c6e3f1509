"""Figures of models on labeled images."""

from covtool.evaluation.classification import ClassificationResult, evaluate_classification
from covtool.evaluation.matching import ClassMatch, match_classes

__all__ = ["ClassMatch", "ClassificationResult", "evaluate_classification", "match_classes"]
