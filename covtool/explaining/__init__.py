"""Where a network looks: maps over images of what a class's logit is made of."""

from covtool.explaining.explaining import Maps, explain
from covtool.explaining.overlays import overlay, resized

__all__ = ["Maps", "explain", "overlay", "resized"]
