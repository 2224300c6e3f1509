"""Records of a calibration: what was measured for it, and what it did."""

from dataclasses import dataclass

from torch import Tensor

from covtool.ops.temperature import TemperatureFit


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """What `calibrate_head_` did.

    Attributes:
        images: Images it was done with.
        left_out_top_1: Estimate of the accuracy on new images, percent: each image judged by
            the classifier that was solved without it.
        left_out_loss: Mean negative log-likelihood of the same, in nats, at the temperature of
            `predictions`; None without one.
        penalty: λ of the ridge regression.
        side: ``rows`` (the dual, a system of as many unknowns as images) or ``features``.
        system_size: Unknowns of the system that was solved.
        projected: Whether the features were projected to a subspace to fit the bound on memory: the
            solution is the best one in it, not of all.
        kept_features: Whether the features stayed in memory, or were computed again each time.
        exact_memory_gib: Memory that the exact solution takes, in GiB; as it was planned.
        exact_in_reach: Whether it is found where that much memory is allowed.
        explained_variance: Share of the channels' variance that the reduction keeps, percent; of
            several taps the smallest; None without a reduction.
        explained_variances: The same for each tap, in their order; empty without a reduction.
        temperature: Factor that made the regression's outputs logits.
        predictions: Temperature of predictions for these logits, by the left-out ones; None where
            the images give none.
    """

    images: int
    left_out_top_1: float
    left_out_loss: float | None
    penalty: float
    side: str
    system_size: int
    projected: bool
    kept_features: bool
    exact_memory_gib: float
    exact_in_reach: bool
    explained_variance: float | None
    temperature: float
    predictions: TemperatureFit | None = None
    explained_variances: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMoments:
    """Mean (C,) and covariance (C, C) of a feature map's channels, in float64.

    They are over all positions of all images: the same for every head on one map.
    """

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFit:
    """A head that was calibrated, image by image.

    Attributes:
        result: What was done.
        right: Whether the classifier that was solved without an image gives its class, shape (n,),
            in the loader's order; of several processes, in that of the first one's batches.
    """

    result: CalibrationResult
    right: Tensor
