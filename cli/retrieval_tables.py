"""A search on the terminal: the content of the data set, before it, and the figures, after it."""

from typing import TYPE_CHECKING

from covtool.data.datasets.found_images import counted
from covtool.specs.byte_amounts import format_bytes
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.data.datasets.retrieval.report import RetrievalReport
    from covtool.evaluation.retrieval.verification import VerificationResult
    from covtool.evaluation.retrieve import Retrieval


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
    features = f"{done.num_features:,}" + (f", {spec.feature}" if model else "")
    if spec.flip_test:
        features += ", mean with the mirror image"
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
            ("features", features),
            ("ranked by", spec.metric + (", re-ranked" if spec.rerank else "")),
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
    how = "" if found.is_exact else f", in bins: ROC AUC within {found.auc_error:.2g} %"
    pairs = f"{found.same_pairs:,} of one identity, {found.different_pairs:,} of two{how}"
    return [*rows, ("pairs", pairs)]


def as_object(model: str | None, done: "Retrieval") -> dict[str, object]:
    """Return all of a search for ``--json``."""
    result = done.result
    return {
        "task": "retrieval",
        "model": model,
        "data": done.data,
        "report": done.report,
        "device": done.device,
        "input": done.input,
        "num_features": done.num_features,
        "spec": done.spec,
        "queries": result.queries,
        "left_out": result.left_out,
        "gallery": result.gallery,
        "planned_bytes": result.planned_bytes,
        "figures": dict(result.figures()),
        "verification": result.verification,
        "query_paths": [str(sample.path) for sample in done.layout.query],
        "average_precisions": result.average_precisions,
        "first_ranks": result.first_ranks,
        "unreadable": done.unreadable,
        "far_from_training": done.far_from_training,
        "notes": done.notes,
        "files": done.files,
    }
