"""What tests of training runs share: who watches a run, and what a run left behind."""

import csv
import resource
import signal
from contextlib import contextmanager

import pytest
import torch
from tolerances import EXACT

from covtool.checkpoints.model_file import load
from covtool.specs import FinetuneRequest, InputOverrides
from covtool.specs.finetuning import SETTINGS
from covtool.training import finetune
from covtool.training.run.observer import SilentObserver

IMAGES = InputOverrides(img_size=32)
LOSSES = {"rel": 1e-6, "abs": 1e-6}
WEIGHTS = {"rtol": 1e-5, "atol": 2e-6}  # float32, added up in another order


class Recorder(SilentObserver):
    """Keeps what it is told, and may do something at an update or an epoch."""

    def __init__(self, *, at_update=None, at_epoch=None, do=None):
        self.plans, self.steps, self.epochs, self.notes = [], [], [], []
        self.at_update, self.at_epoch, self.do = at_update, at_epoch, do

    def on_start(self, plan):
        self.plans.append(plan)

    def on_step(self, record):
        self.steps.append(record)
        if record.update == self.at_update:
            self.do()

    def on_epoch(self, record):
        self.epochs.append(record)
        if record.epoch == self.at_epoch:
            self.do()

    def on_note(self, text):
        self.notes.append(text)

    @property
    def notes_on_training(self):
        """The notes without the one on scores, which comes last of all."""
        return [text for text in self.notes if "temperature" not in text.lower()]


def make_request(data, output, specs=SETTINGS, **settings):
    """A tiny run: any settings of `specs`, SETTINGS or PHASED, or fields of the request."""
    tiny = {"epochs": 2, "batch_size": 6, "workers": 0, "device": "cpu", "img_size": 32}
    groups = {name: {} for name in specs}
    fields = {
        "model": "test_resnet",
        "data": str(data),
        "from_scratch": True,
        "output": str(output),
    }
    for name, value in {**tiny, **settings}.items():
        if name in FinetuneRequest.model_fields:
            fields[name] = value
            continue
        group = next(g for g, spec in specs.items() if name in spec.model_fields)
        groups[group][name] = value
    made = {group: specs[group](**values) for group, values in groups.items()}
    return FinetuneRequest(**{**made, **fields})


def power_cut():
    raise RuntimeError("power cut")


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def changed(before, after):
    """Names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def assert_same_weights(first, second):
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=name, **EXACT)


def rows(directory):
    with (directory / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def content(directory):
    """What must be the same: summary.csv, every tensor of the last and best state, the exports."""
    found = {"summary": (directory / "summary.csv").read_bytes()}
    if (directory / "spectra.jsonl").exists():
        found["spectra"] = (directory / "spectra.jsonl").read_bytes()
    for name in ("last", "best"):
        state = torch.load(directory / f"checkpoints/{name}.pt", weights_only=True)
        del state["progress"]["seconds"]
        found[name] = _bytes(state)
        exported = load(directory / f"exported/{name}.safetensors")
        found[f"exported {name}"] = _bytes(exported.state_dict()), exported.recipe
    return found


def _bytes(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _bytes(item) for key, item in value.items()}
    return [_bytes(item) for item in value] if isinstance(value, list | tuple) else value


def cut_short(request, **when):
    """The folder of a run that ended without warning."""
    observer = Recorder(**when, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(request, observer=observer)
    return observer.plans[0].directory


@contextmanager
def full_disk(limit):
    """No file can grow beyond so many bytes: what a full disk looks like to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
