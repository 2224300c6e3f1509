"""Answers of a model for images without labels."""

from covtool.prediction.in_memory import predict
from covtool.prediction.rows import Prediction

__all__ = ["Prediction", "predict"]
