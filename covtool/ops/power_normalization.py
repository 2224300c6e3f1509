"""What bilinear features go through before a linear classifier: signed root and unit length."""

from torch import Tensor

from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale

SMALLEST = 1e-10


def signed_sqrt(values: Tensor, *, eps: float = SMALLEST) -> Tensor:
    """sign(x) sqrt(|x|), element by element, smoothed to x / sqrt(|x| + `eps`).

    The slope of the root is infinite at 0, where many bilinear features are; here it is
    1 / sqrt(eps) there.

    Source:
        Perronnin, Sánchez, Mensink. "Improving the Fisher Kernel for Large-Scale Image
        Classification", ECCV 2010.
    """
    return values / (values.abs() + eps).sqrt()


def unit_length(vectors: Tensor) -> Tensor:
    """Each row over its Euclidean norm: (B, F) -> (B, F); a row of zeros stays, with gradient 0."""
    return vectors / one_where_zero(root_of_scale(vectors.square().sum(dim=1, keepdim=True)))
