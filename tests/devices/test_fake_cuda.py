"""Laws over the tables on a CUDA device that is not here: devices, dtypes, strides, no waiting."""

from itertools import product

import pytest
import torch
from fake_devices import HiddenSynchronizationError, backward_, fake_device
from test_variants import DIM, HEADS, pooling
from torch import nn

from covtool.data.rendering.on_device import change_colors_, resize_together
from covtool.layers.neck import Neck
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.ops.filters import WEIGHTINGS
from covtool.ops.spectral import matrix_sqrt_eigh
from covtool.processes import ALONE
from covtool.specs import ConvolutionSpec, ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES
from covtool.training.parts.objective import EmbeddedOutputs, Objective
from covtool.variants import CONVOLUTIONS

HALVES = (torch.bfloat16, torch.float16)


def assert_on_cuda(*tensors, dtype=None):
    for tensor in tensors:
        assert tensor is not None
        assert tensor.device.type == "cuda"
        assert dtype is None or tensor.dtype == dtype


def assert_trains_on_cuda(layer, shape, *, dtype=torch.float32, layout=torch.contiguous_format):
    """Pass features forward and backward, with and without autocast."""
    with fake_device() as fake:
        layer = fake.module(layer.train().to(dtype=dtype))
        features = torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=layout)
        features.requires_grad_(True)
        outputs = layer(features)
        assert_on_cuda(outputs, dtype=dtype)
        backward_(outputs.sum())
        assert_on_cuda(features.grad, dtype=dtype)
        trained = [p for p in layer.parameters() if p.requires_grad]
        assert_on_cuda(*(p.grad for p in trained), dtype=dtype)
        for half in HALVES:
            with torch.autocast("cuda", dtype=half):
                outputs = layer(features)
            backward_(outputs.float().sum())
            assert_on_cuda(outputs, features.grad)
        assert not fake.waits
        return outputs


@pytest.mark.parametrize("row", list(HEADS), ids=lambda row: row.name)
def test_heads_stay_on_the_device_and_do_not_wait_for_it(row):
    assert_trains_on_cuda(pooling(row, DIM, reduction="conv-bn-relu"), (2, DIM, 4, 4))


@pytest.mark.parametrize("gradient", GRADIENTS.names)
def test_a_head_with_every_gradient_rule(gradient):
    assert_trains_on_cuda(pooling(HEADS["mpn"], gradient=gradient), (2, DIM, 3, 4))


@pytest.mark.parametrize("gradient", GRADIENTS.names)
def test_the_root_of_a_matrix_with_every_gradient_rule(gradient):
    with fake_device() as fake:
        matrices = torch.randn(2, 5, 5, device="cuda", requires_grad=True)
        backward_(matrix_sqrt_eigh(matrices, gradient=gradient).sum())
        assert_on_cuda(matrices.grad)
        assert not fake.waits


def convolution(**settings):
    spec = ConvolutionSpec(**settings)
    plain = nn.Conv2d(4, 6, 3, padding=1)
    return CONVOLUTIONS[spec.conv].layer.from_conv(plain, spec)


OPERATORS = [
    {"conv": row.name, "angular": angular}
    for row, angular in product(CONVOLUTIONS, ANGULAR_ACTIVATIONS.names)
    if "angular" in row.options
] + [{"conv": row.name} for row in CONVOLUTIONS if "angular" not in row.options]


@pytest.mark.parametrize("settings", OPERATORS, ids=lambda settings: "-".join(settings.values()))
def test_operators_stay_on_the_device_and_keep_the_layout(settings):
    layer = convolution(**settings).to(memory_format=torch.channels_last)
    outputs = assert_trains_on_cuda(layer, (2, 4, 5, 5), layout=torch.channels_last)
    assert outputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "settings",
    [
        *({"weighting": name} for name in WEIGHTINGS.names),
        {"weighted_gradients": True, "weighting": "none"},
        {"learn_radius": True, "unit": "running-mean", "radius_per": "filter"},
        {"scale_per": "filter"},
    ],
    ids=str,
)
def test_options_of_operators(settings):
    assert_trains_on_cuda(convolution(conv="tanh", **settings), (2, 4, 5, 5))


@pytest.mark.parametrize(
    "layers", [("batchnorm",), ("linear", "batchnorm", "relu"), ("linear-without-bias",)], ids=str
)
def test_necks(layers):
    assert_trains_on_cuda(Neck(8, layers, 5 if layers[0] != "batchnorm" else None), (4, 8))


@pytest.mark.parametrize("name", LOSSES.names)
@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.2, "cutmix": 1.0}], ids=["plain", "mixed"])
def test_losses_and_mixing(name, mixed):
    if mixed and LOSSES[name].needs == "embeddings":
        pytest.skip("what is mixed has no one class")
    objective = Objective(
        ObjectiveSpec(loss=f"ce+{name}" if name != "ce" else "ce"),
        TrainingSpec(smoothing=0.1, **mixed),
        3,
    )
    with fake_device() as fake:
        labels = torch.zeros(4, dtype=torch.long, device="cuda")
        images, targets = objective.prepare(torch.rand(4, 3, 8, 8, device="cuda"), labels)
        assert_on_cuda(images, targets)
        for dtype in (torch.float32, *HALVES):
            logits, embeddings = (
                torch.randn(4, n, device="cuda", dtype=dtype, requires_grad=True) for n in (3, 7)
            )
            loss = objective(EmbeddedOutputs(logits, embeddings), targets)
            assert_on_cuda(loss, dtype=torch.float32)
            backward_(loss)
            assert_on_cuda(logits.grad, dtype=dtype)
        assert not fake.waits
    assert ALONE.world == 1


COPIES = {
    ("covtool/data/rendering/on_device.py", "resize_weights"): "sizes and filters of the crops",
    ("covtool/data/rendering/on_device.py", "change_colors_"): "factors, drawn on the CPU",
    ("covtool/data/transforms/normalization.py", "__call__"): "mean and deviation, once",
}
"""What goes to the device with each batch that is varied there: a few numbers for each image."""


def test_variation_of_batches_on_the_device():
    with fake_device(allowed=COPIES) as fake:
        parts = [torch.zeros(3, n, n + 2, dtype=torch.uint8, device="cuda") for n in (5, 9)]
        values = resize_together(
            parts, ["bilinear", "bicubic"], (8, 8), mirrored=[(True, False), (False, True)]
        )
        change_colors_(values, [(("brightness", 1.2), ("contrast", 0.9))] * 2)
        assert_on_cuda(values, dtype=torch.float32)
    assert set(fake.waits) <= set(COPIES)


def test_a_value_that_is_read_is_found():
    layer = nn.Linear(3, 2)
    layer.forward = lambda features: features * features.sum().item()
    with pytest.raises(HiddenSynchronizationError):
        assert_trains_on_cuda(layer, (2, 3))


def test_a_tensor_that_stays_behind_is_found():
    layer = nn.Linear(3, 2)
    forward = layer.forward
    layer.forward = lambda features: forward(features) + torch.ones(2)
    with pytest.raises(RuntimeError, match="device"):
        assert_trains_on_cuda(layer, (2, 3))
