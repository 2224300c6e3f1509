"""Weight norm, spectral norm and pruning masks are folded into the weights of evaluation."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from covtool.checkpoints.code_bases import fold_reparametrizations


def old(function, module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's older ways are deprecated, and in files
        return function(module)


WAYS = {
    "weight norm": lambda m: parametrizations.weight_norm(m),
    "weight norm by input": lambda m: parametrizations.weight_norm(m, dim=1),
    "weight norm of all": lambda m: parametrizations.weight_norm(m, dim=None),
    "old weight norm": lambda m: old(nn.utils.weight_norm, m),
    "spectral norm": lambda m: parametrizations.spectral_norm(m),
    "old spectral norm": lambda m: old(nn.utils.spectral_norm, m),
    "pruning": lambda m: prune.random_unstructured(m, "weight", amount=0.5),
}
LAYERS = {
    "convolution": lambda: nn.Conv2d(3, 5, 3),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, 3),
    "linear": lambda: nn.Linear(4, 6),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("way", WAYS)
def test_the_folded_weight_is_the_one_that_is_computed_with(way, layer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), LAYERS[layer]())
    WAYS[way](model[1])
    model.eval()
    state = model.state_dict()
    folded, notes = fold_reparametrizations(state)
    plain = nn.Sequential(nn.BatchNorm2d(3), LAYERS[layer]())
    plain.load_state_dict(folded, strict=True)
    images = torch.randn(2, 4) if layer == "linear" else torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(plain[1](images), model[1](images), rtol=1e-5, atol=1e-5)
    assert len(notes) == 1
    assert "folded" in notes[0]
    assert set(state) == set(model.state_dict())


def test_a_plain_file_is_left_as_it_is():
    state = nn.Sequential(nn.Linear(2, 2)).state_dict()
    folded, notes = fold_reparametrizations(state)
    assert folded is state
    assert notes == ()


def test_half_a_reparametrization_is_left_as_it_is():
    state = {"conv.weight_g": torch.ones(2, 1)}
    assert fold_reparametrizations(state)[0] is state
