"""Notes on the result of a conversion, in sentences."""

from collections.abc import Iterator, Sequence
from math import ceil

from covtool.conversion.records import ConvolutionsReport
from covtool.specs import Recipe
from covtool.surgery.calibrated import CalibrationResult
from covtool.surgery.calibration_memory import LARGEST_DUAL, LARGEST_PRIMAL
from covtool.surgery.eigenlayer import EigenlayerPlan
from covtool.surgery.head import HeadPlan
from covtool.variants import CONVOLUTIONS


def notes_on(
    head: HeadPlan | None, convolutions: Sequence[ConvolutionsReport], *, calibrated: bool
) -> tuple[str, ...]:
    """Return notes on new operators and on a new head."""
    notes = [note for report in convolutions for note in _on_convolutions(report)]
    if head is not None:
        notes += _on_head(head, calibrated=calibrated)
    return tuple(notes)


def notes_on_eigenlayer(plan: EigenlayerPlan | None) -> Iterator[str]:
    """Yield notes on a new Eigenlayer."""
    if plan is None or plan.keeps_logits:
        return
    if plan.spec.init == "random":
        yield "The Eigenlayer and the classifier behind it start at random: train them."
    else:
        yield (
            f"The classifier has more independent directions than the {plan.spec.features} weight "
            "vectors of the Eigenlayer: its logits are kept only as far as those allow."
        )


def notes_on_scores(source: Recipe) -> Iterator[str]:
    """Yield a note on what the source's file has for its weights alone."""
    parts = {"temperature of predictions": source.scores, "training embeddings": source.neighbors}
    if lost := " and ".join(name for name, value in parts.items() if value is not None):
        yield f"The source's {lost} held for its weights as they were; the result is without."


def notes_on_calibration(calibration: CalibrationResult) -> Iterator[str]:
    """Yield a note on an approximate solution: what the exact one takes."""
    if not calibration.projected:
        return
    found = (
        f"The classifier is the best one in {calibration.system_size:,} directions that images "
        f"span, not of all. The exact solution takes {calibration.exact_memory_gib:.2g} GiB"
    )
    if calibration.exact_in_reach:
        # Rounded up: the bound has to be above what is needed.
        bound = f"{ceil(100 * calibration.exact_memory_gib) / 100:.2f}"
        yield f"{found}: --calibrate-memory {bound}."
    else:
        yield (
            f"{found}, and is not computed for more than {LARGEST_DUAL:,} images of more than "
            f"{LARGEST_PRIMAL:,} features: --calibrate-images takes fewer images."
        )


def starts_at_random(
    head: HeadPlan | None, eigenlayer: EigenlayerPlan | None, *, calibrated: bool
) -> Iterator[str]:
    """Yield paths of the new modules whose weights are random."""
    if head is not None and head.widened:
        yield head.widened
    if head is not None and not calibrated:
        if head.spec.reduction != "none":
            pooling = ".".join([head.sites.pooling, *(["second_order"] if head.spec.fuse else [])])
            several = [f".branches.{index}" for index in range(len(head.taps))]
            for branch in several if len(several) > 1 else [""]:
                yield f"{pooling}{branch}.reduction"
        if not head.keeps_classifier:
            yield head.sites.classifier
    if eigenlayer is not None and eigenlayer.spec.init == "random":
        yield eigenlayer.classifier


def _on_convolutions(report: ConvolutionsReport) -> Iterator[str]:
    spec = report.plan.spec
    if report.plan.left:
        # One of them as an example: a wildcard may meet hundreds.
        path, reason = report.plan.left[0]
        yield f"{len(report.plan.left)} convolutions stay as they are: {path}: {reason}"
    if report.calibration is None and not spec.is_convolution:
        yield (
            f"The operators have the paper's defaults ({CONVOLUTIONS[spec.conv].name}, α = "
            f"{spec.scale:g}) and the network answers at random: train it, or convert with "
            "--calibrate DIR."
        )


def _on_head(head: HeadPlan, *, calibrated: bool) -> Iterator[str]:
    for tap in head.taps:
        rank = head.rank_of(tap)
        # Not an error: a root of a matrix without full rank is defined, and trains.
        if rank is not None and rank < min(head.spec.dim, tap.channels):
            which = f" of {tap.path!r}" if len(head.taps) > 1 else ""
            yield (
                f"The covariance{which} has rank {rank} at most: {tap.positions} positions. "
                "More positions come from --last-stride 1, larger images, or an earlier --tap."
            )
    # A batch norm after the root scales it anyway, the same for all images.
    if head.spec.post_norm not in (head.spec.pre_norm, "batchnorm"):
        yield (
            f"--pre-norm {head.spec.pre_norm} with --post-norm {head.spec.post_norm} gives no "
            "square root of the covariance, but a multiple of it that differs by image."
        )
    if not calibrated and not head.keeps_classifier:
        yield "The new classifier starts at random: fine-tune it, or convert with --calibrate DIR."
