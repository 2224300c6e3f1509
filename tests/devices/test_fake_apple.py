"""A device without float64 and eigendecompositions, as Apple's is, by a stand-in that torch knows.

A build of torch without Apple's device makes no tensors of it that do much. So the fake device is
called cuda here, and refuses what Apple's refuses; the table of such devices names it.
"""

import warnings

import pytest
import torch
from fake_devices import backward_, fake_device
from test_variants import DIM, HEADS, WITH_GRADIENT_RULE, pooling, random_map
from tolerances import EXACT
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from covtool.ops import precision
from covtool.ops.decorrelation import correlation, decorrelate, fold_classifier
from covtool.processes import ALONE
from covtool.specs import ConvolutionSpec, ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES
from covtool.surgery.streaming import Moments
from covtool.training.parts.objective import EmbeddedOutputs, Objective
from covtool.variants import CONVOLUTIONS

aten = torch.ops.aten


class _AsApple(TorchDispatchMode):
    """Refuses what Apple's backend refuses."""

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        results = operator(*arguments, **(keywords or {}))
        there = [
            tensor
            for tensor in tree_leaves((arguments, keywords, results))
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda"
        ]
        if any(tensor.dtype == torch.float64 for tensor in there):
            raise TypeError(f"{operator}: the MPS framework doesn't support float64")
        if there and operator is aten._linalg_eigh.default:
            raise NotImplementedError(f"{operator} is not implemented for the MPS device")
        return results


COPIES = {
    ("covtool/ops/precision.py", "on_cpu_without"): "the features of a head in float64, and back",
    ("covtool/ops/precision.py", "in_float64"): "weights that are measured",
    ("covtool/ops/spectral.py", "eigh"): "matrices to be decomposed, and back",
    ("covtool/ops/decorrelation.py", "decorrelate"): "weights, back",
    ("covtool/ops/decorrelation.py", "fold_classifier"): "weights, back",
    ("covtool/ops/decorrelation.py", "correlation"): "a number, on the CPU by then",
    ("", ""): "gradients, the same way back",
}


@pytest.fixture
def apple(monkeypatch):
    """A fake device that refuses what Apple's refuses."""
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", frozenset({"cuda"}))
    with fake_device(allowed=COPIES) as fake, _AsApple(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This device has no float64")
        yield fake


def assert_trains(fake, layer, shape):
    """Pass features forward and backward."""
    layer = fake.module(layer.train())
    features = torch.rand(shape, device=fake.device).requires_grad_(True)
    outputs = layer(features)
    backward_(outputs.sum())
    tensors = [outputs, features.grad, *(p.grad for p in layer.parameters() if p.requires_grad)]
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors} == {("cuda", torch.float32)}


# Layers are made before the mode of fakes is entered: its fixture comes last.
@pytest.fixture(params=list(HEADS), ids=lambda row: row.name)
def head(request):
    return pooling(request.param)


@pytest.fixture(params=WITH_GRADIENT_RULE, ids=lambda row: row.name)
def head_in_float32(request):
    return pooling(request.param, head_dtype="float32")


@pytest.fixture(params=CONVOLUTIONS.names)
def operator(request):
    spec = ConvolutionSpec(conv=request.param)
    return CONVOLUTIONS[spec.conv].layer.from_conv(nn.Conv2d(4, 6, 3), spec)


def test_heads(head, apple):
    assert_trains(apple, head, (2, DIM, 3, 4))


def test_eigendecompositions_in_float32(head_in_float32, apple):
    assert_trains(apple, head_in_float32, (2, DIM, 3, 4))


def test_operators(operator, apple):
    assert_trains(apple, operator, (2, 4, 5, 5))


@pytest.mark.parametrize("name", LOSSES.names)
def test_losses(name, apple):
    objective = Objective(ObjectiveSpec(loss=name), TrainingSpec(), 3, ALONE)
    logits, embeddings = (torch.rand(4, n, device="cuda") for n in (3, 7))
    labels = torch.zeros(4, dtype=torch.long, device="cuda")
    loss = objective(EmbeddedOutputs(logits, embeddings), labels)
    assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)


def test_moments_are_summed_on_the_cpu(apple):
    moments = Moments(4, apple.device, mixed=True)
    moments.add(precision.in_float64(torch.rand(5, 4, device="cuda")))
    assert all(tensor.device.type == "cpu" for tensor in moments.sums())


def test_the_weights_of_an_eigenlayer(apple):
    weight, classifier = (torch.rand(shape, device="cuda") for shape in ((3, 5), (2, 3)))
    assert correlation(weight).dtype == torch.float64
    for found in (decorrelate(weight), fold_classifier(classifier, weight, weight)):
        assert (found.device.type, found.dtype) == ("cuda", torch.float32)


def test_what_is_computed_on_the_cpu_is_said_once(monkeypatch):
    layer = pooling(HEADS["mpn"])
    monkeypatch.setattr(precision, "WITHOUT_FLOAT64", frozenset({"cuda"}))
    with fake_device(allowed=COPIES) as fake, warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        fake.module(layer)
        for _ in range(3):
            layer(torch.rand(2, DIM, 3, 4, device="cuda"))
    assert [str(warning.message) for warning in shown] == [precision.ON_CPU]


def test_values_and_gradients_are_the_same_on_the_way_over_the_cpu(monkeypatch):
    layer, features = pooling(HEADS["mpn"]), random_map(2, DIM, 3, 4).requires_grad_(True)
    value = layer(features)
    (gradient,) = torch.autograd.grad(value.sum(), features)
    monkeypatch.setattr(precision, "with_float64", lambda device: torch.device("cpu", 0))
    with pytest.warns(UserWarning, match="has no float64"):
        again = layer(features)
    assert_close(again, value, **EXACT)
    assert_close(torch.autograd.grad(again.sum(), features)[0], gradient, **EXACT)


def test_apples_device_is_one_without_float64():
    assert not precision.has_float64(torch.device("mps"))
    assert precision.with_float64(torch.device("mps:0")) == torch.device("cpu")


def test_the_stand_in_refuses_float64(apple):
    with pytest.raises(TypeError, match="doesn't support float64"):
        torch.rand(2, device="cuda").double()
