import pytest
import torch

from covtool.backbones.device import resolve_device
from covtool.errors import ArgumentError


def test_auto_is_the_best_device_there_is(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ArgumentError, match=r"(?s)no device 'cuda:1'.*sees 1"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "", "meta"])
def test_a_word_that_is_no_device_is_refused(name) -> None:
    with pytest.raises(ArgumentError, match="Choose auto, cpu, cuda"):
        resolve_device(name)
