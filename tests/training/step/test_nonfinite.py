import torch
from torch import nn

from covtool.training.step.nonfinite import (
    explain_nonfinite,
    first_nonfinite_gradient,
    first_nonfinite_tensor,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))


def test_a_poisoned_weight_is_named_with_its_layer():
    model = network()
    model[2].weight.data[0, 0] = torch.nan
    said = explain_nonfinite(model, torch.ones(2, 3))
    assert said == (
        "The first layer with a non-finite output is '2' (Linear); its weight is not finite."
    )


def test_an_overflow_is_named_where_it_happens():
    model = network()
    model[2].weight.data.fill_(1e38)
    model[0].weight.data.fill_(1e3)
    said = explain_nonfinite(model, torch.ones(2, 3))
    assert said == "The first layer with a non-finite output is '2' (Linear)."


def test_images_that_are_not_finite_are_said_to_be():
    assert "images themselves" in explain_nonfinite(network(), torch.full((2, 3), torch.inf))


def test_a_finite_model_leaves_the_loss_and_no_hooks_behind():
    model = network()
    assert "the loss itself" in explain_nonfinite(model, torch.ones(2, 3))
    assert not any(module._forward_hooks for module in model.modules())


def test_integers_and_finite_tensors_pass():
    tensors = {"count": torch.tensor(3), "none": None, "weight": torch.ones(2)}
    assert first_nonfinite_tensor(tensors.items()) is None
    assert first_nonfinite_tensor({**tensors, "bad": torch.tensor(torch.inf)}.items()) == "bad"


def test_the_first_bad_gradient_is_named():
    model = network()
    model(torch.ones(2, 3)).sum().backward()
    assert first_nonfinite_gradient(model) is None
    model[2].bias.grad[0] = torch.nan
    assert first_nonfinite_gradient(model) == "2.bias"
