"""A search on the terminal: the content of the data set, before it, and the figures, after it."""

from typing import TYPE_CHECKING

from covtool.data.datasets.found_images import counted
from covtool.specs.byte_amounts import format_bytes
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.data.datasets.retrieval.report import RetrievalReport
    from covtool.evaluation.retrieval.verification import VerificationResult
    from covtool.evaluation.retrieve import Retrieval
    from covtool.reporting.retrieval_against import ComparedSearches
    from covtool.reporting.retrieval_subject import RetrievalSubject


def show_report(report: "RetrievalReport") -> None:
    """Show images, identities and cameras by subset, and the queries that are left, on stderr."""
    for subset in report.subsets:
        cameras = "" if subset.cameras is None else f", {counted(subset.cameras, 'camera')}"
        render.note(
            f"{subset.name}: {counted(subset.images, 'image')}, "
            f"{counted(subset.identities, 'identity')}{cameras}"
        )
    if report.junk or report.distractors:
        render.note(
            f"in the gallery: {report.junk:,} of junk, {counted(report.distractors, 'distractor')}"
        )
    if report.shared_identities:
        render.note(
            f"in both training and test: {counted(len(report.shared_identities), 'identity')}"
        )
    rule = "another camera's" if report.by_camera else "another"
    has, their = ("have", "their") if report.queries > 1 else ("has", "its")
    render.note(
        f"{report.queries_left:,} of {counted(report.queries, 'query')} {has} {rule} image of "
        f"{their} identity to find"
    )


def show_figures(model: str | None, done: "Retrieval") -> None:
    """Show the figures and the conditions they were measured under, on stdout."""
    result, spec = done.result, done.spec
    render.pairs(
        render.marked("Searched", far=done.far_from_training),
        [
            ("model", model or f"features from {spec.distances_from}"),
            ("data", done.data),
            *((name, f"{value:.2f} %") for name, value in result.figures()),
            *_verification_rows(result.verification),
            ("queries", result.queries),
            ("left out, without a match", result.left_out),
            ("gallery", result.gallery),
            ("features", done.features_in_words),
            ("ranked by", spec.metric + (f", re-ranked ({spec.reranking})" if spec.rerank else "")),
            ("memory of the search, at most", format_bytes(result.planned_bytes)),
            *([("device", done.device)] if done.device else []),
            ("left out, unreadable", len(done.unreadable)),
            *(("file", path) for path in done.files),
        ],
    )


def _verification_rows(found: "VerificationResult | None") -> list[tuple[str, str]]:
    if found is None:
        return []
    rows = [(name, f"{value:.2f} %") for name, value in found.figures()]
    return [*rows, ("pairs", found.pairs_in_words)]


def as_object(
    model: str | None, subject: "RetrievalSubject", compared: "ComparedSearches | None"
) -> dict[str, object]:
    """Return all of a search for ``--json``.

    Args:
        model: Name of the model; None where the features come from a file.
        subject: The search.
        compared: Comparison with another model's search; None without one.
    """
    from covtool.reporting.ranged_figures import ranges_of

    done = subject.done
    result, spec = done.result, done.spec
    reranking = {
        "k1": spec.reciprocal_neighbors,
        "k2": spec.averaged_neighbors,
        "lambda": spec.distance_weight,
    }
    return {
        "task": "retrieval",
        "model": model,
        "data": done.data,
        "report": done.report,
        "device": done.device,
        "input": done.input,
        "num_features": done.num_features,
        "spec": spec,
        "reranking": reranking if spec.rerank else None,
        "queries": result.queries,
        "left_out": result.left_out,
        "gallery": result.gallery,
        "planned_bytes": result.planned_bytes,
        "figures": dict(result.figures()),
        "ranges": ranges_of(subject.ranged),
        "verification": result.verification,
        "against": None if compared is None else _against(compared),
        "query_paths": [str(sample.path) for sample in done.layout.query],
        "average_precisions": result.average_precisions,
        "first_ranks": result.first_ranks,
        "unreadable": done.unreadable,
        "far_from_training": done.far_from_training,
        "notes": done.notes,
        "files": done.files,
    }


def _against(compared: "ComparedSearches") -> dict[str, object]:
    """Return what a comparison found, and what must be known about the other model."""
    other = compared.second.done
    gain, low, high = compared.gain
    return {
        "model": compared.second.model,
        "num_features": other.num_features,
        "figures": dict(other.result.figures()),
        "verification": other.result.verification,
        "gain": {"figure": "mAP", "points": gain, "low": low, "high": high},
        "mcnemar": compared.test,
        "far_from_training": other.far_from_training,
        "notes": compared.doubts,
    }
