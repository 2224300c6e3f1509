"""Checkpoints of re-identification code bases, rebuilt with neck, stride and images."""

from covtool.checkpoints.reid.opening import open_reid

__all__ = ["open_reid"]
