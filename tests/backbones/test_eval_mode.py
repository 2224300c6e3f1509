"""A model is in eval mode for a block, and every module as it was after it."""

import pytest
from torch import nn

from covtool.backbones.eval_mode import eval_mode


def mixed_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    return model


def test_modules_have_their_own_mode_again():
    model = mixed_model()
    before = [module.training for module in model.modules()]
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_modes_are_restored_after_an_error():
    model = mixed_model()
    with pytest.raises(KeyError), eval_mode(model):
        raise KeyError
    assert model.training
    assert not model[1].training
