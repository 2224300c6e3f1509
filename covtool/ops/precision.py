"""Numerical precision of spectral mathematics."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return `tensor` itself, or its float32 copy where it is in half precision.

    Iterated products of nearly singular matrices lose everything in 8 or 11 bits.
    """
    # Half precision has too few digits to be squared and summed.
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast leaves the matrix products on `tensor`'s device alone."""
    # Inside autocast a product of float32 matrices would be computed in half precision.
    return torch.autocast(autocast_device(tensor), enabled=False)


def autocast_device(tensor: Tensor) -> str:
    """Return the type of device for autocast, which knows no meta device."""
    # The shapes of a model are determined on the meta device, without weights.
    return "cpu" if tensor.is_meta else tensor.device.type
