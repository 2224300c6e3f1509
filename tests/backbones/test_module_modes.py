"""Modes of modules that come back as they were."""

import pytest
from torch import nn

from covtool.backbones.module_modes import in_eval_mode, modes_restored


def mixed() -> nn.Module:
    """A model in train mode with a part in eval mode."""
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    model[1].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("held", [in_eval_mode, modes_restored])
def test_each_module_has_its_own_mode_back_also_after_an_error(held) -> None:
    model = mixed()
    before = modes(model)
    with pytest.raises(RuntimeError, match="in the block"), held(model):
        model.train(held is modes_restored)
        raise RuntimeError("in the block")
    assert modes(model) == before == [True, True, False, False]


def test_in_eval_mode_nothing_trains() -> None:
    model = mixed()
    with in_eval_mode(model):
        assert not any(modes(model))
