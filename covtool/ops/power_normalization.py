"""Signed root and unit length, for bilinear features in front of a linear classifier."""

from torch import Tensor

from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale
from covtool.ops.precision import at_least_float32

SMALLEST = 1e-10


def signed_sqrt(values: Tensor, *, eps: float = SMALLEST) -> Tensor:
    """sign(x) sqrt(|x|), element by element, smoothed to x / sqrt(|x| + `eps`).

    The slope of the root is infinite at 0, where many bilinear features are; here it is
    1 / sqrt(eps) there: more than float16 can hold, so differentiate float32. The value is computed
    in float32 at least.

    Source:
        Perronnin, Sánchez, Mensink. "Improving the Fisher Kernel for Large-Scale Image
        Classification", ECCV 2010.
    """
    precise = at_least_float32(values)  # in float16 the default eps is 0
    # x / sqrt(|x| + eps) has the bounded slope 1/sqrt(eps) at 0, where sqrt|x| has none.
    return (precise / (precise.abs() + eps).sqrt()).to(values.dtype)


def shifted_signed_sqrt(values: Tensor, *, thresh: float) -> Tensor:
    """sign(x) sqrt(|x| + `thresh`), element by element: it jumps by 2 sqrt(thresh) at 0.

    What published weights were trained with. The value is computed in float32 at least.

    Source:
        jiangtaoxie/fast-MPN-COV, src/representation/BCNN.py and CBP.py, with 1e-8.
    """
    precise = at_least_float32(values)  # in float16 a thresh of 1e-8 is 0
    return (precise.sign() * (precise.abs() + thresh).sqrt()).to(values.dtype)


def unit_length(vectors: Tensor) -> Tensor:
    """Divide each row of (B, F) by its Euclidean norm; a row of zeros stays, with gradient 0."""
    precise = at_least_float32(vectors)  # squares would leave float16's range
    norm = root_of_scale(precise.square().sum(dim=1, keepdim=True))
    return (precise / one_where_zero(norm)).to(vectors.dtype)
