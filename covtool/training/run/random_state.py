"""The states of the random number generators: taken, and set again."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from covtool.processes import current

_WORDS = 624  # of the Mersenne Twister's state


def capture_generators() -> dict[str, Any]:
    """Return the states of `random`, numpy and torch as plain values and tensors."""
    # Lists and numbers instead of arrays: torch loads them with weights_only=True.
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device) for device in _cuda_devices()],
    }


def set_generators(saved: dict[str, Any]) -> None:
    """Set all generators to what `capture_generators` returned.

    Those of CUDA devices stay as they are where there are more or fewer devices now.
    """
    version, inner, gauss = saved["python"]  # `random` insists on a tuple
    random.setstate((version, tuple(inner), gauss))
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    devices = _cuda_devices()
    if len(saved["cuda"]) == len(devices):
        for device, state in zip(devices, saved["cuda"], strict=True):
            torch.cuda.set_rng_state(state, device)


def require_generators(saved: dict[str, Any]) -> None:
    """Refuse states that `set_generators` could not set; tried on generators of its own.

    Raises:
        ValueError: They are no such states; or an error of the generators themselves: LookupError,
            TypeError, RuntimeError, ArithmeticError.
    """
    version, inner, gauss = saved["python"]
    random.Random().setstate((version, tuple(inner), gauss))
    name, keys, position, has_gauss, cached = saved["numpy"]
    words = np.array(keys, dtype=np.uint32)
    if name != "MT19937" or words.shape != (_WORDS,) or has_gauss not in (0, 1):
        raise ValueError("no state of NumPy's generator")
    if not isinstance(position, int) or not 0 <= position <= _WORDS:  # NumPy would read past them
        raise ValueError("no position in NumPy's generator")
    np.random.RandomState().set_state((name, words, position, has_gauss, float(cached)))
    torch.Generator().set_state(saved["torch"])
    cuda = saved["cuda"]
    if not all(isinstance(s, Tensor) and s.dtype == torch.uint8 and s.dim() == 1 for s in cuda):
        raise ValueError("no states of CUDA's generators")


def _cuda_devices() -> list[int]:
    """Return the CUDA devices that this process may use: of several processes each has one."""
    if not torch.cuda.is_available():
        return []
    if current().world > 1:
        return [torch.cuda.current_device()]
    return list(range(torch.cuda.device_count()))
