"""How precise float32 products are on CUDA, for as long as a run lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions; as it was afterwards.

    TF32 keeps 10 of 23 bits of each factor and is several times as fast on Ampere and later; it
    changes nothing on other devices.

    Args:
        allowed: None leaves torch's settings alone.
    """
    if allowed is None:
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set("high" if allowed else "highest", allowed)
    try:
        yield
    finally:
        _set(*before)


def _set(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
