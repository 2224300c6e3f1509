"""A model that returns several outputs in training is refused before anything is trained."""

from collections import namedtuple

import pytest
import torch
from checkpoint_files import tiny_model
from torch import nn

from covtool.errors import ArgumentError
from covtool.specs import InputSpec
from covtool.training.parts.single_output import require_logits

IMAGES = InputSpec(size=(32, 32))
Outputs = namedtuple("Outputs", ["logits", "distilled"])


class TwoHeaded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])

    def forward(self, images):
        features = self.body(images).mean(dim=(2, 3))
        first, second = (head(features) for head in self.heads)
        return Outputs(first, second) if self.training else (first + second) / 2


def test_several_outputs_are_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"returns a Outputs \(logits, distilled\)"):
        require_logits(TwoHeaded().eval(), IMAGES)


def test_one_output_is_accepted_and_the_model_left_as_it_is() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    require_logits(model, IMAGES)
    assert torch.equal(torch.get_rng_state(), expected)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
