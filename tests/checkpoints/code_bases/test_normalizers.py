"""A normalizer inside the network becomes mean and deviation of its input."""

import pytest
import timm
import torch

from covtool.backbones.architectures import load_index
from covtool.checkpoints.code_bases import read_code_bases, take_normalizer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def state():
    return timm.create_model("test_resnet").state_dict()


def under(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3, 1, 1)])
@pytest.mark.parametrize(
    ("mean", "std", "prefix"),
    [
        ("0.mean", "0.std", "1."),
        ("normalize.mean", "normalize.std", "model."),
        ("module.normalizer.new_mean", "module.normalizer.new_std", "module.model."),
        ("mu", "sigma", "net."),
        ("pixel_mean", "pixel_std", "backbone."),
    ],
)
def test_a_normalizer_is_taken_off_and_told(state, shape, mean, std, prefix):
    values = {mean: torch.tensor(MEAN).view(shape), std: torch.tensor(STD).view(shape)}
    tensors = values | under(prefix, state)
    found = take_normalizer(tensors)
    assert found.mean == pytest.approx(MEAN)
    assert found.std == pytest.approx(STD)
    assert set(found.tensors) == set(tensors) - {mean, std}
    assert found.unused == (mean, std)


def test_values_for_pixels_are_told_for_the_unit_range(state):
    pixels = {"pixel_mean": torch.tensor(MEAN) * 255, "pixel_std": torch.tensor(STD) * 255}
    found = take_normalizer(pixels | state)
    assert found.mean == pytest.approx(MEAN)
    assert found.std == pytest.approx(STD)


def test_a_network_that_takes_blue_first_is_turned_to_rgb(state):
    pixels = {"pixel_mean": torch.tensor(MEAN[::-1]) * 255, "pixel_std": torch.ones(3)}
    found = take_normalizer(pixels | state)
    (first,) = (n for n, t in state.items() if t.dim() == 4 and t.shape[1] == 3)
    assert found.mean == pytest.approx(MEAN)
    assert torch.equal(found.tensors[first], state[first].flip(1))
    assert "RGB" in found.note


def test_the_second_copy_of_robustness_s_attacker_is_taken_off_too(state):
    values = {"new_mean": torch.tensor(MEAN), "new_std": torch.tensor(STD)}
    tensors = {
        **under("module.normalizer.", values),
        **under("module.model.", state),
        **under("module.attacker.normalize.", values),
        **under("module.attacker.model.", state),
    }
    found = take_normalizer(tensors)
    assert set(found.tensors) == set(under("module.model.", state))


def test_normalizers_that_differ_are_left(state):
    tensors = {
        "a.mean": torch.tensor(MEAN),
        "a.std": torch.tensor(STD),
        "b.mean": torch.zeros(3),
        "b.std": torch.ones(3),
    }
    assert take_normalizer(tensors | state) is None


@pytest.mark.parametrize("std", [torch.zeros(3), torch.ones(64), torch.ones(2)])
def test_what_is_no_normalizer_is_left(state, std):
    assert take_normalizer({"mean": torch.zeros_like(std), "std": std, **state}) is None


def test_a_file_with_nothing_but_a_normalizer_to_take_off_is_one_reading(state):
    tensors = {"0.mean": torch.tensor(MEAN), "0.std": torch.tensor(STD), **under("1.", state)}
    (reading,) = read_code_bases(tensors)
    assert reading.code_base == ""
    assert reading.input == {"mean": pytest.approx(MEAN), "std": pytest.approx(STD)}
    assert set(reading.tensors) == set(under("1.", state))
    assert any("taken over" in note for note in reading.notes)


def test_no_native_name_is_taken_for_a_normalizer_s():
    leaves = ("std", "new_std", "pixel_std", "sigma")
    assert [n for n in load_index().names if n.rpartition(".")[2] in leaves] == []
