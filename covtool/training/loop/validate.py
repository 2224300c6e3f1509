"""Evaluation between epochs: on validation images, or by a search after each phase."""

from dataclasses import replace
from functools import partial

from covtool.data.datasets.checking import check_images
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.errors import DataError, NonFiniteError
from covtool.evaluation.classification.accuracy import evaluate_classification
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.evaluation.retrieval.search import (
    extract_search_features,
    plan_search,
    relevance_of,
    search,
)
from covtool.progress import Track
from covtool.specs import RetrievalSpec
from covtool.training.loop.bad_images import LEFT_OUT
from covtool.training.loop.scoring import held_out_logits, temperature_of
from covtool.training.parts.assembly import Parts
from covtool.training.run.records import EpochResult
from covtool.training.run.run import Run
from covtool.training.step.nonfinite import explain_nonfinite
from covtool.training.step.out_of_memory import InParts, within_memory


def validate(run: Run, track: Track) -> EpochResult:
    """Measure the model as it is now; all processes must call this.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A logit or a feature is not a finite number.
        OutOfMemoryError: A batch does not fit into memory.
    """
    judge = _classify if run.parts.data.searched is None else _search
    run.parts.processes.doing = f"the evaluation after update {run.state.updates}"
    try:
        solve_head_(run, track)
        return judge(run, track)
    except NonFiniteError as problem:
        raise NonFiniteError(
            f"After step {run.state.updates} the model's output on the evaluation images is not "
            "finite.",
            # By the first process: the others have the same weights.
            reason=run.parts.processes.main(partial(_explain, run.parts)),
        ) from problem


def solve_head_(run: Run, track: Track) -> None:
    """Solve the classifier of the judged model, where it is not the trained one.

    All processes must call this, before the model is measured or exported.

    Raises:
        DataError: A training image cannot be read any more.
        OutOfMemoryError: A batch does not fit into memory.
    """
    parts = run.parts
    solved = parts.solved
    if solved is None:
        return
    within_memory(
        run,
        lambda micro_batch: solved.solve_(
            InParts(solved.batches, micro_batch), parts.processes, track
        ),
    )


def require_room_to_search(parts: Parts) -> None:
    """Refuse a run that could not be evaluated, before it is started.

    Raises:
        ArgumentError: The memory allowed is too little for the search.
    """
    if parts.data.searched is not None:
        exact = _exact(parts)
        relevance = relevance_of(parts.data.searched, cameras=exact.cameras)
        plan_search(relevance, _extractor(parts).num_features, exact)


def _classify(run: Run, track: Track) -> EpochResult:
    parts = run.parts

    def measure(micro_batch: int | None) -> EpochResult:
        kept = held_out_logits(parts)
        result = evaluate_classification(
            parts.evaluated,
            InParts(parts.validation_batches, micro_batch),
            class_names=parts.recipe.class_names,
            device=parts.device,
            track=track,
            keep=kept,
            processes=parts.processes,
        )
        figures = {"top_1": result.top_1, "top_5": result.top_5, "loss": result.loss}
        known = {name: value for name, value in figures.items() if value is not None}
        return EpochResult(
            figures=known, images=result.images, temperature=temperature_of(kept, parts.processes)
        )

    return within_memory(run, measure)


def _search(run: Run, track: Track) -> EpochResult:
    parts = run.parts
    layout, images = parts.data.searched, parts.data.validation
    exact, extractor = _exact(parts), _extractor(parts)

    def measure(micro_batch: int | None) -> EpochResult:
        nonlocal layout, images  # a second try, in smaller parts, need not find bad images again
        cut = replace(extractor, batch_size=micro_batch or extractor.batch_size)
        try:
            features = extract_search_features(layout, cut, images=images, track=track)
        except DataError:
            # A feature needs its image: where one is gone, the search is done without it.
            layout, images = _without_unreadable(run, layout), None
            features = extract_search_features(layout, cut, track=track)

        def find() -> RetrievalResult:
            relevance = relevance_of(layout, cameras=exact.cameras)
            return search(features, relevance, exact, track=track)

        result = parts.processes.main(find)
        return EpochResult(figures=_figures(result), images=result.queries)

    return within_memory(run, measure)


def _without_unreadable(run: Run, layout: RetrievalLayout) -> RetrievalLayout:
    """Return the layout of a search without the images that have become unreadable.

    Raises:
        DataError: They are not to be left out (``--on-bad-image``), or nothing is left.
    """
    parts = run.parts
    checked = check_images(
        numbered(layout.searched),
        on_bad_image=parts.training.on_bad_image,
        processes=parts.processes,
    )
    left = layout.without({path for path, _ in checked.bad})
    require_searchable(left, report_on(left, cameras=parts.request.search.cameras))
    for path, reason in checked.bad:
        run.observer.on_note(f"{path} cannot be read any more; {LEFT_OUT}. {reason}")
    return left


def _exact(parts: Parts) -> RetrievalSpec:
    return RetrievalSpec(**parts.request.search.model_dump())


def _extractor(parts: Parts) -> FeatureExtractor:
    return FeatureExtractor.of(
        parts.evaluated,
        parts.recipe.input,
        parts.request.search,
        batch_size=parts.training.batch_size,
        workers=parts.training.workers,
        device=parts.device,
        processes=parts.processes,
    )


def _figures(result: RetrievalResult) -> dict[str, float]:
    """Name the figures in the order of `COLUMNS`; rank-k is Recall@k without cameras."""
    return {
        **{f"rank_{k}": share for k, share in result.cmc.items()},
        "mean_average_precision": result.mean_average_precision,
        "mean_inverse_penalty": result.mean_inverse_penalty,
        "r_precision": result.r_precision,
        "map_at_r": result.map_at_r,
    }


def _explain(parts: Parts) -> str:
    images, _ = next(iter(parts.validation_batches))
    return explain_nonfinite(parts.evaluated.eval(), images.to(parts.device))
