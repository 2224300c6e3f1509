"""Everything that a run needs to go on where it stopped."""

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from covtool.errors import CheckpointError
from covtool.training.assembly import Parts

STATE_VERSION = 1


@dataclass(kw_only=True)
class RunState:
    """How far a run is.

    Attributes:
        epoch: Epochs done.
        step: Updates done in the epoch after those.
        updates: Updates done in all.
        loss_sum: Sum of the losses of the images of the epoch that is under way.
        images: How many those are.
        values: The metric of each epoch done.
        seconds: Spent so far.
        generators: States of the random number generators that are yet to be restored, or None.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    images: int = 0
    values: list[float] = field(default_factory=list)
    seconds: float = 0.0
    generators: dict[str, Any] | None = None

    def restore_generators(self) -> None:
        """Set the random number generators, once, to what they were when this was saved."""
        if self.generators is not None:
            _set_generators(self.generators)
            self.generators = None


def capture(parts: Parts, state: RunState) -> dict[str, Any]:
    """A run as tensors and plain values, for `torch.save`; loads with ``weights_only=True``."""
    return {
        "version": STATE_VERSION,
        "progress": {k: v for k, v in asdict(state).items() if k != "generators"},
        "model": parts.model.state_dict(),
        "model_ema": None if parts.ema is None else parts.ema.module.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "generators": _generators(),
    }


def restore_(parts: Parts, path: Path) -> RunState:
    """Bring freshly assembled parts to where a saved run was.

    The learning rates are those of the parts' own schedule at that update: it may have been given
    another number of epochs.

    Raises:
        CheckpointError: The file cannot be read, or is of another model or optimizer.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        state = RunState(**payload["progress"], generators=payload["generators"])
        parts.model.load_state_dict(payload["model"])
        if parts.ema is not None:
            parts.ema.module.load_state_dict(payload["model_ema"])
        parts.optimizer.load_state_dict(payload["optimizer"])
        parts.scaler.load_state_dict(payload["scaler"])
    except (OSError, UnpicklingError, RuntimeError, KeyError, TypeError, ValueError) as problem:
        raise CheckpointError(
            f"{path} cannot be resumed from.", reason=str(problem).splitlines()[0]
        ) from problem
    parts.schedule.set_updates(state.updates)
    return state


def _generators() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_generators(saved: dict[str, Any]) -> None:
    version, inner, gauss = saved["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    if len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["cuda"])
