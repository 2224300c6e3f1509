import pytest
from torch import nn

from covtool.surgery.module_types import module_at, update_attributes_


def test_a_module_is_found_by_its_path_and_kind():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 2)))
    assert module_at(model, "0.0", nn.Linear) is model[0][0]


def test_a_plan_of_another_model_is_our_own_mistake():
    with pytest.raises(AssertionError, match="0 is a ReLU"):
        module_at(nn.Sequential(nn.ReLU()), "0", nn.Linear)


def test_only_attributes_that_are_there_are_set():
    model = nn.Identity()
    model.num_classes = 3
    update_attributes_(model, num_classes=5, num_features=7)
    assert model.num_classes == 5
    assert not hasattr(model, "num_features")
