"""Data sets as they are published, each in a folder ``data/NAME``, and a model beside them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import published_trees
import retrieval_trees

from fuzzing import seeds

PUBLISHED = (
    "cub", "nabirds", "stanford_cars", "stanford_cars_list", "aircraft", "pets", "flowers", "food",
    "dtd", "inaturalist", "places", "sun397", "dogs", "tiny_imagenet", "imagenet_kaggle",
    "imagenette_csv", "path_lists", "image_folder",
)  # fmt: skip

RETRIEVAL = ("market", "veri", "msmt17", "layumi", "in_shop", "vehicle_id", "products")


def published(folder: Path) -> None:
    """Data for classification."""
    seeds.own_file(folder)
    for name in PUBLISHED:
        write: Callable = getattr(published_trees, name)
        try:
            write(folder / "data" / name)
        except ImportError:  # of scipy, which is an extra
            shutil.rmtree(folder / "data" / name)


def retrieval(folder: Path) -> None:
    """Data for retrieval."""
    seeds.own_file(folder)
    for name in RETRIEVAL:
        place = folder / "data" / name
        place.mkdir(parents=True)
        getattr(retrieval_trees, f"write_{name}")(place)
