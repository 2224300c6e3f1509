"""The loss of a device that is still computing: the backward pass is given to it all the same."""

import math
from types import SimpleNamespace

import pytest
import torch
from training_runs import content

from covtool.training import finetune
from covtool.training.step import update
from covtool.training.step.reading import Reading


@pytest.fixture
def under_way(monkeypatch):
    """Let every reading look as if the device were at it."""
    monkeypatch.setattr(Reading, "is_under_way", True)


def test_a_run_ends_with_the_same_bytes(asked, monkeypatch):
    settings = {"epochs": 1, "loss": "ce+0.5*bce", "grad_accum_steps": 2}
    plain = finetune(asked(experiment="plain", **settings)).directory
    monkeypatch.setattr(Reading, "is_under_way", True)
    assert content(finetune(asked(experiment="under_way", **settings)).directory) == content(plain)


def test_numbers_are_those_of_item():
    values = torch.tensor([0.1, math.pi, math.nan]).unbind()
    read = Reading(values).numbers()
    assert read[:2] == [value.item() for value in values[:2]]
    assert math.isnan(read[2])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_an_error_on_the_way_to_no_gradient_says_nothing(under_way, monkeypatch, loss):
    def fail(*_):
        raise RuntimeError("no eigenvalues")

    monkeypatch.setattr(update, "_backward_", fail)
    value = torch.tensor(loss)
    read = update._backward_where_finite_(None, SimpleNamespace(), value, Reading([value]))
    assert not math.isfinite(read[0])


def test_an_error_on_the_way_to_a_gradient_is_raised(under_way, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(update, "_backward_", fail)
    value = torch.tensor(1.0)
    with pytest.raises(torch.OutOfMemoryError):
        update._backward_where_finite_(None, SimpleNamespace(), value, Reading([value]))
