"""Numerical precision of spectral mathematics."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Kinds of devices that have no numbers of 64 bits, and no eigendecomposition either."""

ON_CPU = (
    "This device has no float64: the head's matrix is computed on the CPU, with copies there and "
    "back. A head in float32, isqrt for example, stays on the device."
)


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


def has_float64(device: torch.device) -> bool:
    """Return whether a device has numbers of 64 bits."""
    return device.type not in WITHOUT_FLOAT64


def with_float64(device: torch.device) -> torch.device:
    """Return the device itself where it has numbers of 64 bits, else the CPU."""
    return device if has_float64(device) else torch.device("cpu")


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device has no such numbers."""
    return tensor.to(with_float64(tensor.device), torch.float64)


def on_cpu_without(
    features: Tensor, function: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Tensor:
    """Return ``function(features)``, computed in `dtype`, by the CPU where the device cannot.

    Gradients find the same way back. The CPU in float64, not the device in float32: a model gives
    the same answers on every device. Copies of the features are the price, and said once.

    Args:
        features: Features on any device.
        function: Function of them.
        dtype: Precision in which it is computed.

    Returns:
        Its result, on the device and in the dtype of `features`.
    """
    where = with_float64(features.device) if dtype == torch.float64 else features.device
    if where != features.device:
        warnings.warn(ON_CPU, stacklevel=2)  # Python shows it once
    return function(features.to(where, dtype)).to(features.device, features.dtype)
