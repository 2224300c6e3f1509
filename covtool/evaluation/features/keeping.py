"""Training embeddings of a model, computed, compressed, and put on it for its file."""

from collections.abc import Sequence

import torch

from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.ops.neighbors import Neighbors, normalized, sketch_for
from covtool.progress import Track, silent
from covtool.specs import NeighborSpec
from covtool.specs.scores import NEAREST

MOST_KEPT = 20_000
"""Embeddings that a file keeps, 5 MB. Sun et al. found that a hundredth of ImageNet does."""


def keep_neighbors_(
    extractor: FeatureExtractor, samples: Sequence[Sample], data: str, *, track: Track = silent
) -> None:
    """Put the embeddings of training images on a model, and say so in its recipe.

    All processes must call this; all of them have the embeddings afterwards.

    Args:
        extractor: Extractor of the classifier's input, of a model with its recipe.
        samples: Training images; of many, as many of each class are drawn.
        data: Name of the data set, and the split.
        track: Display of the progress.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: An embedding is not finite.
    """
    model, processes = extractor.model, extractor.processes
    sketch = sketch_for(extractor.num_features)
    # Compressed batch by batch: all long embeddings together may not fit into memory.
    batches = [
        normalized(batch, sketch) for batch in extractor(draw_evenly(samples, MOST_KEPT), track)
    ]
    neighbors = processes.main(lambda: Neighbors.of(torch.cat(batches), sketch))
    spec = NeighborSpec(
        layer=extractor.layer,
        nearest=min(NEAREST, len(neighbors)),
        data=data,
        images=len(neighbors),
    )
    model.neighbors = neighbors
    model.recipe = model.recipe.model_copy(update={"neighbors": spec})
