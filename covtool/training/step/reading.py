"""Numbers of a device, read without keeping it waiting for its next task."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Reading:
    """Numbers on their way from a device to Python.

    On CUDA they are copied to pinned memory, as one more task of the device's. Only `numbers`
    waits, and only until they are computed: the device goes on with what it was given meanwhile.

    Args:
        values: Tensors of one number each, on one device.
    """

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = torch.stack([value.detach() for value in values])  # one copy for all
        self._copied: torch.cuda.Event | None = None
        if self._values.is_cuda:
            device, shape = self._values.device, self._values.shape
            pinned = torch.empty(shape, dtype=self._values.dtype, device="cpu", pin_memory=True)
            self._values = pinned.copy_(self._values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(device))

    @property
    def is_under_way(self) -> bool:
        """Whether the device may be computing the numbers yet, while Python goes on."""
        return self._copied is not None

    def numbers(self) -> list[float]:
        """Return the numbers, once they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values.cpu().tolist()
