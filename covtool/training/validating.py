"""How a model is judged between epochs: on validation images, or by a search after each phase."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from covtool.data.checking import check_images
from covtool.data.retrieval_layout import RetrievalLayout, numbered
from covtool.data.retrieval_report import report_on, require_searchable
from covtool.errors import DataError, NonFiniteError
from covtool.evaluation.classification import evaluate_classification
from covtool.evaluation.embedding import Describer
from covtool.evaluation.retrieval import RetrievalResult
from covtool.evaluation.searched_images import describe_searched, plan_search, search
from covtool.progress import Track
from covtool.specs import RetrievalSpec
from covtool.training.assembly import Parts
from covtool.training.bad_images import LEFT_OUT
from covtool.training.nonfinite import explain_nonfinite
from covtool.training.out_of_memory import InParts, evaluate_within_memory

if TYPE_CHECKING:
    from covtool.training.fit import Run

COLUMNS = {
    "top_1": "eval_top1",
    "top_5": "eval_top5",
    "loss": "eval_loss",
    "rank_1": "eval_rank1",
    "rank_5": "eval_rank5",
    "rank_10": "eval_rank10",
    "rank_20": "eval_rank20",
    "mean_average_precision": "eval_mAP",
    "mean_inverse_penalty": "eval_mINP",
    "r_precision": "eval_r_precision",
    "map_at_r": "eval_mAP_at_R",
}
"""Names of figures to the columns of summary.csv; in percent, but the loss in nats."""

METRICS = {
    "top1": ("top_1", 1),
    "top5": ("top_5", 1),
    "loss": ("loss", -1),
    "rank1": ("rank_1", 1),
    "mAP": ("mean_average_precision", 1),
}
"""What ``--eval-metric`` names: a figure, and the sign with which more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What was measured after an epoch.

    Attributes:
        figures: By the names in `COLUMNS`.
        images: That it was measured on; of a search, the queries that count.
    """

    figures: Mapping[str, float]
    images: int

    def value(self, metric: str) -> float:
        """A figure, more being better, by its name for ``--eval-metric``."""
        name, sign = METRICS[metric]
        return sign * self.figures[name]


def validate(run: "Run", track: Track) -> EpochResult:
    """Measure the model as it is now; all processes must call this.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A logit or a feature is not a finite number.
        OutOfMemoryError: A batch does not fit into memory.
    """
    judge = _classify if run.parts.data.searched is None else _search
    run.parts.processes.doing = f"the evaluation after update {run.state.updates}"
    try:
        return judge(run, track)
    except NonFiniteError as problem:
        raise NonFiniteError(
            f"After step {run.state.updates} what the model makes of the images that it is "
            "evaluated on is not finite.",
            reason=run.parts.processes.main(partial(_explain, run.parts)),
        ) from problem


def require_room_to_search(parts: Parts) -> None:
    """Refuse a run that could not be judged, before it is started.

    Raises:
        ArgumentError: The memory allowed is too little for the search.
    """
    if parts.data.searched is not None:
        plan_search(parts.data.searched, _describer(parts).num_features, _exact(parts))


def _classify(run: "Run", track: Track) -> EpochResult:
    parts = run.parts

    def measure(micro_batch: int | None) -> EpochResult:
        result = evaluate_classification(
            parts.evaluated,
            InParts(parts.validation_batches, micro_batch),
            class_names=parts.recipe.class_names,
            device=parts.device,
            track=track,
            processes=parts.processes,
        )
        figures = {"top_1": result.top_1, "top_5": result.top_5, "loss": result.loss}
        known = {name: value for name, value in figures.items() if value is not None}
        return EpochResult(figures=known, images=result.images)

    return evaluate_within_memory(run, measure)


def _search(run: "Run", track: Track) -> EpochResult:
    parts = run.parts
    layout, images = parts.data.searched, parts.data.validation
    exact, describer = _exact(parts), _describer(parts)

    def measure(micro_batch: int | None) -> EpochResult:
        nonlocal layout, images
        cut = replace(describer, batch_size=micro_batch or describer.batch_size)
        try:
            features = describe_searched(layout, cut, images=images, track=track)
        except DataError:
            layout, images = _without_unreadable(run, layout), None
            features = describe_searched(layout, cut, track=track)
        result = parts.processes.main(lambda: search(layout, features, exact, track=track))
        return EpochResult(figures=_figures(result), images=result.queries)

    return evaluate_within_memory(run, measure)


def _without_unreadable(run: "Run", layout: RetrievalLayout) -> RetrievalLayout:
    """What this search does without, since images went bad while the run was under way.

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


def _describer(parts: Parts) -> Describer:
    return Describer.of(
        parts.evaluated,
        parts.recipe.input,
        parts.request.search,
        batch_size=parts.training.batch_size,
        workers=parts.training.workers,
        device=parts.device,
        processes=parts.processes,
    )


def _figures(result: RetrievalResult) -> dict[str, float]:
    """In the order of `COLUMNS`; rank-k is Recall@k where there are no cameras."""
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
