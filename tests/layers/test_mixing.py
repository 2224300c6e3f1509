"""Classes that are made on the fly: one for each row of mixins, found again by pickle."""

import copy
import pickle

import torch
from torch import nn

from covtool.layers.mixing import mix_in, mix_out


class Doubled:
    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(numbers)


class Shifted:
    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return super().forward(numbers) + 1


def test_last_mixin_works_first_and_the_name_stays() -> None:
    layer = nn.Identity()
    mix_in(layer, Doubled)
    mix_in(layer, Shifted)
    assert layer(torch.tensor(3.0)) == 7
    assert type(layer).__name__ == "Identity"


def test_equal_mixtures_are_the_same_class_also_behind_pickle() -> None:
    layers = [nn.Linear(2, 2), nn.Linear(3, 2)]
    for layer in layers:
        mix_in(layer, Doubled, "DoubledLinear")
        mix_in(layer, Shifted)
    assert type(layers[0]) is type(layers[1])
    for duplicate in (copy.deepcopy(layers[0]), pickle.loads(pickle.dumps(layers[0]))):
        assert type(duplicate) is type(layers[0])
        assert duplicate.weight is not layers[0].weight
        assert torch.equal(duplicate.weight, layers[0].weight)


def test_mixin_is_taken_out_from_under_another() -> None:
    layer = nn.Identity()
    mix_in(layer, Doubled)
    mix_in(layer, Shifted)
    mix_out(layer, Doubled)
    assert layer(torch.tensor(3.0)) == 4
    mix_out(layer, Shifted)
    assert type(layer) is nn.Identity
