"""Data sets for classification as they are published, recognized by their files.

The readers are covtool's own. Those of torchvision want a folder of a certain name in another
(``root/stanford_cars/cars_train``), compare checksums (Flowers-102, Places365), know no splits
(SUN397) or do not know the data set; none tells what is missing. Where one can read a tree, the
tests hold ours to the same images and classes.
"""

from covtool.data.datasets.published.finding import FoundPublished, find_published
from covtool.data.datasets.published.options import refuse_options
from covtool.data.datasets.published.table import PUBLISHED

__all__ = [
    "PUBLISHED",
    "FoundPublished",
    "find_published",
    "refuse_options",
]
