"""Training embeddings of a model, computed, compressed, and put on it for its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from covtool.checkpoints.kept_images import KeptImages
from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.errors import DataError, reason_of
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.ops.neighbors import Neighbors, normalized, sketch_for
from covtool.progress import Track, silent
from covtool.specs import NeighborSpec
from covtool.specs.scores import NEAREST

MOST_KEPT = 20_000
"""Embeddings that a file keeps, 5 MB. Sun et al. found that a hundredth of ImageNet does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSource:
    """Where the images are from whose embeddings are kept.

    Attributes:
        name: Name of the data set, and the split.
        folder: Folder of the data set.
        class_names: Names of the images' labels; None where they are not known.
    """

    name: str
    folder: Path
    class_names: Sequence[str] | None


def keep_neighbors_(
    extractor: FeatureExtractor,
    samples: Sequence[Sample],
    source: KeptSource,
    *,
    track: Track = silent,
) -> None:
    """Put the embeddings of training images on a model, and say so in its recipe.

    All processes must call this; all of them have the embeddings afterwards.

    Args:
        extractor: Extractor of the classifier's input, of a model with its recipe.
        samples: Training images; of many, as many of each class are drawn.
        source: Where the images are from.
        track: Display of the progress.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: An embedding is not finite.
    """
    model, processes = extractor.model, extractor.processes
    drawn = draw_evenly(samples, MOST_KEPT)
    images = processes.main(lambda: _named(drawn, source))
    sketch = sketch_for(extractor.num_features)
    # Compressed batch by batch: all long embeddings together may not fit into memory.
    batches = [normalized(batch, sketch) for batch in extractor(drawn, track)]
    neighbors = processes.main(lambda: Neighbors.of(torch.cat(batches), sketch))
    spec = NeighborSpec(
        layer=extractor.layer,
        nearest=min(NEAREST, len(neighbors)),
        data=source.name,
        images=len(neighbors),
    )
    model.neighbors, model.neighbor_images = neighbors, images
    model.recipe = model.recipe.model_copy(update={"neighbors": spec})


def _named(samples: Sequence[Sample], source: KeptSource) -> KeptImages:
    try:
        return KeptImages.of(samples, source.class_names, source.folder)
    except OSError as problem:
        raise DataError(
            "A training image cannot be read any more.", reason=reason_of(problem)
        ) from problem
