"""Tiny training runs, and somebody who watches them."""

import signal
from pathlib import Path

import torch

from covtool.specs import FinetuneRequest
from covtool.training.observer import SilentObserver


def toy_request(data: Path, output: Path, **options: object) -> FinetuneRequest:
    """Two epochs of test_resnet from scratch on the CPU; `options` by the names of the flags."""
    usual = {
        "model": "test_resnet",
        "from_scratch": True,
        "img_size": 32,
        "epochs": 2,
        "batch_size": 6,
        "workers": 0,
        "device": "cpu",
    }
    return FinetuneRequest.from_arguments(
        {"data": str(data), "output": str(output), **usual, **options}
    )


class Watcher(SilentObserver):
    """Keeps what it is told and the weights after each epoch; may interrupt at an update."""

    def __init__(self, *, interrupt_at: int | None = None) -> None:
        self.steps, self.epochs, self.notes, self.weights = [], [], [], []
        self.directory: Path | None = None
        self.interrupt_at = interrupt_at

    def on_start(self, plan: object) -> None:
        self.directory = plan.directory

    def on_step(self, record: object) -> None:
        self.steps.append(record)
        if record.update == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, record: object) -> None:
        self.epochs.append(record)
        self.weights.append(saved_weights(self.directory))

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def saved_weights(directory: Path) -> dict[str, torch.Tensor]:
    """The model in the last checkpoint of a run."""
    return torch.load(directory / "checkpoints/last.pt", weights_only=True)["model"]


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}
