"""Which convolutions can become another operator, and why the others cannot."""

from importlib import import_module

import pytest
import torch
from timm.layers import Conv2dSame, ScaledStdConv2dSame, StdConv2dSame
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, remove_weight_norm, weight_norm

from covtool.errors import SurgeryError
from covtool.layers import ConvOperator, DecoupledConv2d, WeightStandardizedConv2d
from covtool.layers.conv_source import KINDS, ConvKind, kind_of


class OwnConv2d(nn.Conv2d):
    """Somebody's convolution, which may do anything."""


def named(name: str) -> type[nn.Conv2d]:
    module, _, cls = name.rpartition(".")
    return getattr(import_module(module), cls)


@pytest.mark.parametrize("name", KINDS)
def test_names_are_those_of_the_installed_classes(name: str) -> None:
    conv = named(name)(4, 6, 3)
    assert type(conv) is named(name)
    assert f"{type(conv).__module__}.{type(conv).__qualname__}" == name


@pytest.mark.parametrize("name", KINDS)
def test_kind_says_what_the_class_does(name: str) -> None:
    conv, kind = named(name)(4, 6, 3, stride=2), kind_of(named(name)(4, 6, 3, stride=2))
    with torch.no_grad():
        odd, even = (conv(torch.rand(1, 4, side, side)).shape[-1] for side in (7, 8))
        before = conv(torch.ones(1, 4, 9, 9))
        conv.weight.mul_(2)
        if conv.bias is not None:
            conv.bias.mul_(2)
        scaled = not torch.allclose(conv(torch.ones(1, 4, 9, 9)), 2 * before)
    assert kind.same == (odd == even == 4 and conv.padding == (0, 0))
    assert kind.standardized == scaled
    assert kind.gain == hasattr(conv, "gain")
    assert kind == KINDS[name]


@pytest.mark.parametrize("cls", [StdConv2dSame, ScaledStdConv2dSame])
def test_timms_padding_is_by_size_only_where_it_must(cls: type[nn.Conv2d]) -> None:
    assert kind_of(cls(4, 6, 3, stride=2)).same
    assert not kind_of(cls(4, 6, 3, stride=1)).same
    assert kind_of(Conv2dSame(4, 6, 3)).same


def test_every_layer_is_made_from_every_kind_but_what_would_be_done_twice() -> None:
    for name in KINDS:
        conv = named(name)(4, 6, 3)
        assert DecoupledConv2d.kind_for(conv) == kind_of(conv)
        if not kind_of(conv).standardized:
            assert WeightStandardizedConv2d.kind_for(conv) == kind_of(conv)


def test_a_plain_convolution_pads_as_told_and_leaves_its_weight_alone() -> None:
    assert kind_of(nn.Conv2d(3, 4, 3, padding="same")) == ConvKind()


@pytest.mark.parametrize("module", [OwnConv2d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3), nn.ReLU()])
def test_a_class_that_may_do_more_is_refused_with_those_that_are_known(module: nn.Module) -> None:
    with pytest.raises(SurgeryError, match=type(module).__name__) as refusal:
        kind_of(module)
    assert refusal.value.reason == (
        "Known: Conv2d, Conv2dSame, StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame."
    )


def test_an_operator_is_refused() -> None:
    with pytest.raises(SurgeryError, match="A DecoupledConv2d cannot become another operator"):
        DecoupledConv2d.from_conv(DecoupledConv2d(4, 6, 3))


def parametrized() -> nn.Conv2d:
    return parametrizations.weight_norm(nn.Conv2d(4, 6, 3))


def hooked() -> nn.Conv2d:
    return weight_norm(nn.Conv2d(4, 6, 3))


def pruned(name: str) -> nn.Conv2d:
    return prune.l1_unstructured(nn.Conv2d(4, 6, 3), name, 0.5)


COMPUTED = {
    "parametrization": (
        parametrized,
        lambda conv: parametrize.remove_parametrizations(conv, "weight"),
        "parametrize.remove_parametrizations(conv, 'weight')",
    ),
    "hook": (hooked, remove_weight_norm, "remove_weight_norm(conv)"),
    "pruned weight": (
        lambda: pruned("weight"),
        lambda conv: prune.remove(conv, "weight"),
        "prune.remove(conv, 'weight')",
    ),
    "pruned bias": (
        lambda: pruned("bias"),
        lambda conv: prune.remove(conv, "bias"),
        "prune.remove(conv, 'bias')",
    ),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("layer", [DecoupledConv2d, WeightStandardizedConv2d])
def test_a_weight_that_is_computed_is_refused_with_what_takes_that_off(
    layer: type[ConvOperator], name: str
) -> None:
    make, take_off, hint = COMPUTED[name]
    conv = make()
    with pytest.raises(SurgeryError, match="is computed") as refusal:
        layer.from_conv(conv)
    assert hint in refusal.value.hint
    take_off(conv)
    assert layer.from_conv(conv).weight.equal(conv.weight)
