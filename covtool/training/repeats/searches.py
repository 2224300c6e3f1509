"""What is found first for the images of a fold, by the model that has not trained on them."""

import os
from collections.abc import Iterable, Sequence

from covtool.backbones.device import resolve_device
from covtool.checkpoints.model_file import load
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.data.loading.worker_death import translate_worker_death
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.evaluation.retrieval.search import extract_search_features, relevance_of, search
from covtool.full_paths import relative_name
from covtool.processes import Processes
from covtool.run_files import PREDICTIONS
from covtool.specs import FinetuneRequest, RetrievalSpec
from covtool.training.repeats.rows import BEST, write_rows
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import Observer

COLUMNS = (
    "path",
    "identity",
    "camera",
    "found",
    "found_identity",
    "first_rank",
    "average_precision",
    "fold",
    "seed",
)
"""Columns of predictions.csv of a search: the image that is ranked first and its identity, the rank
of the first match, from 1, and the average precision in percent. The last two are empty where an
image has no match that counts."""


def write_searches(
    run: RunDirectory,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
) -> None:
    """Write what the best model of a run finds for each image of its fold among the others.

    All processes must call this.

    Args:
        run: Folder of the run, which is complete.
        request: Settings of the run.
        layout: Data set of the run.
        observer: Observer that shows the progress.
        processes: Processes that have a part of the images each.

    Raises:
        CheckpointError: The model cannot be read.
        DataError: An image cannot be read.
        SaveError: The file cannot be written.
    """
    training, searched = request.training, layout.searched
    assert searched is not None  # a fold of identities has one
    model = load(run.exported(BEST))
    if training.on_bad_image == "skip":  # else the run has refused them
        images = numbered(searched.searched)
        checked = check_images(images, on_bad_image="skip", processes=processes)
        searched = searched.without({path for path, _ in checked.bad})
    exact = RetrievalSpec(**request.search.model_dump())
    extractor = FeatureExtractor.of(
        model,
        model.recipe.input,
        request.search,
        batch_size=training.batch_size,
        workers=training.workers,
        device=resolve_device(training.device, processes),
        processes=processes,
    )
    with translate_worker_death(training.workers):
        features = extract_search_features(searched, extractor, track=observer.track)

    def write() -> None:
        relevance = relevance_of(searched, cameras=exact.cameras)
        result = search(features, relevance, exact, keep=1, track=observer.track)
        whereabouts = request.repeats.fold, training.seed
        rows = ((*row, *whereabouts) for row in _rows(searched, result))
        write_rows(run.path / PREDICTIONS, COLUMNS, rows)

    processes.main(write)


def _rows(layout: RetrievalLayout, result: RetrievalResult) -> Iterable[Sequence[object]]:
    def name(path: os.PathLike[str]) -> str:
        return relative_name(os.fspath(path), layout.folder)

    found = result.matches[:, 0].tolist()
    of_queries = zip(found, result.first_ranks, result.average_precisions, strict=True)
    for query, (place, rank, precision) in zip(layout.query, of_queries, strict=True):
        first = layout.gallery[place] if place >= 0 else None
        yield (
            name(query.path),
            query.identity,
            query.camera or "",
            name(first.path) if first else "",
            first.identity if first else "",
            rank,
            precision,
        )
