"""A classifier that is too large is refused before memory is taken."""

import pytest
import torch
from torch import nn

from covtool.backbones.model_size import new_linear, without_weights
from covtool.errors import CheckpointError
from covtool.model_limit import models_up_to


def test_a_layer_of_more_than_the_limit_is_refused_with_its_size() -> None:
    said = "32,896 features and 100,000 outputs would take 13 GB"
    with models_up_to(8 * 10**9), pytest.raises(CheckpointError, match=said):
        new_linear(32_896, 100_000)


def test_a_layer_within_the_limit_is_torch_s() -> None:
    torch.manual_seed(0)
    with models_up_to(4 * 3 * 6):
        layer = new_linear(5, 3)
    torch.manual_seed(0)
    assert torch.equal(layer.weight, nn.Linear(5, 3).weight)
    with models_up_to(4 * 3 * 6 - 1), pytest.raises(CheckpointError):
        new_linear(5, 3)
    with models_up_to(4 * 3 * 5):
        assert new_linear(5, 3, bias=False).bias is None


def test_a_layer_without_memory_is_not_counted_here() -> None:
    with models_up_to(1), without_weights():
        assert new_linear(5, 3).weight.is_meta
