"""The convolution benchmark measures what it says; no test looks at how fast anything was."""

import json

import pytest
import torch
from covering import pairs
from in_process import covtool
from torch import nn

from covtool.benchmarking.convolutions import (
    BASELINE,
    all_operators,
    benchmark_convolutions,
    operator_spec,
)
from covtool.benchmarking.inputs import BenchmarkSpec
from covtool.benchmarking.measuring import measure
from covtool.benchmarking.training_steps import benchmark_steps, training_step
from covtool.errors import ArgumentError, UnknownVariantError
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.magnitudes import MAGNITUDES

ONCE = BenchmarkSpec(repetitions=1)


def test_every_magnitude_and_every_angular_activation_has_a_row() -> None:
    result = benchmark_convolutions(["2x4x5x5:3x3"], spec=ONCE)
    names = [row.operator for row in result.rows]
    assert names == [BASELINE, *all_operators()]
    assert {operator_spec(name).conv for name in names[1:]} == set(MAGNITUDES.names)
    assert {operator_spec(name).angular for name in names[1:]} == set(ANGULAR_ACTIVATIONS.names)
    assert result.rows[0].to_conv == result.rows[0].memory_to_conv == 1
    for row in result.rows:
        assert row.to_conv > 0
        assert row.memory_to_conv > 0
        assert row.cost.forward_ms > 0 < row.cost.backward_ms
        assert not row.compiled


@pairs(
    shape=["2x4x5x5:1x1", "2x4x5x7:dw3x3", "1x2x6x6:3x1", "2x4x5x5:dw2x2"],
    dtype=["float32", "float64", "bfloat16"],
    channels_last=[False, True],
)
def test_shapes_layouts_and_dtypes(shape: str, channels_last: bool, dtype: str) -> None:
    spec = BenchmarkSpec(repetitions=1, channels_last=channels_last, dtype=dtype)
    result = benchmark_convolutions([shape], operators=["tanh", "ball:linear"], spec=spec)
    assert [row.operator for row in result.rows] == [BASELINE, "tanh", "ball:linear"]
    assert {row.shape for row in result.rows} == {shape}


def test_operators_without_a_radius_have_rows_as_well() -> None:
    operators = ["sphere", "weight-standardized"]
    result = benchmark_convolutions(["2x4x5x5:3x3"], operators=operators, spec=ONCE)
    assert [row.operator for row in result.rows[1:]] == operators


def test_gradients_reach_the_filters_and_do_not_pile_up() -> None:
    conv, features = nn.Conv2d(2, 3, 3), torch.rand(1, 2, 5, 5)
    measure({"conv": conv}, features, repetitions=1)
    once = conv.weight.grad.clone()
    assert once.count_nonzero() > 0
    measure({"conv": conv}, features, repetitions=4)
    assert torch.equal(conv.weight.grad, once)


@pytest.mark.parametrize(
    "shape", ["16x64x56x56", "16x64x56:3x3", "16x64x56x56:3", "16x64x56x56:dw", "0x4x5x5:3x3"]
)
def test_wrong_shapes_are_refused(shape: str) -> None:
    with pytest.raises(ArgumentError, match="16x64x56x56:dw3x3"):
        benchmark_convolutions([shape], spec=ONCE)


def test_wrong_operators_are_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownVariantError, match="Did you mean 'tanh'"):
        benchmark_convolutions(operators=["tnah"])
    with pytest.raises(UnknownVariantError, match="Did you mean 'sigmoid'"):
        benchmark_convolutions(operators=["tanh:sigmoidal"])
    with pytest.raises(ArgumentError, match="no angular activation"):
        benchmark_convolutions(operators=["weight-standardized:linear"])
    with pytest.raises(UnknownVariantError, match="Did you mean 'tanh'"):
        benchmark_steps("test_resnet", operators=["tnah"])


def test_training_steps_of_the_plain_and_the_operated_network() -> None:
    result = benchmark_steps("test_resnet", "2x3x32x32", operators=["tanh", "ball"], spec=ONCE)
    assert [row.operator for row in result.rows] == [BASELINE, "tanh", "ball"]
    plain, *operated = result.rows
    assert (plain.convolutions, plain.to_conv) == (0, 1)
    for row in operated:
        assert row.convolutions > 1
        assert row.to_conv > 0 < row.step_ms


def test_a_training_step_trains() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1000, 3), nn.Flatten())
    before = network[0].weight.detach().clone()
    step = training_step(network, torch.rand(2, 3, 3, 3), ONCE)
    step()
    step()
    assert not torch.equal(network[0].weight, before)


def test_unknown_networks_and_shapes_of_images_are_refused() -> None:
    with pytest.raises(UnknownVariantError, match="resnet18"):
        benchmark_steps("resnet18x")
    with pytest.raises(ArgumentError, match="16x256x7x7"):
        benchmark_steps("resnet18", "8x3x224")


def test_compiling_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        def fail(*_: object) -> None:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    compiled = BenchmarkSpec(repetitions=1, compiled=True)
    with pytest.raises(ArgumentError, match="install g\\+\\+"):
        benchmark_convolutions(["2x4x5x5:3x3"], operators=["tanh"], spec=compiled)
    with pytest.raises(ArgumentError, match="No working C\\+\\+ compiler"):
        benchmark_steps("test_resnet", "2x3x32x32", operators=["tanh"], spec=compiled)


def test_compiled_forms_are_compared_with_the_compiled_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    compiled = BenchmarkSpec(repetitions=1, compiled=True)
    result = benchmark_convolutions(["2x4x5x5:3x3"], operators=["tanh"], spec=compiled)
    rows = [(row.operator, row.compiled) for row in result.rows]
    assert rows == [(BASELINE, False), ("tanh", False), (BASELINE, True), ("tanh", True)]
    assert result.rows[2].to_conv == 1


@pytest.mark.slow
def test_operators_compile_into_one_graph() -> None:
    compiled = BenchmarkSpec(repetitions=1, compiled=True)
    result = benchmark_convolutions(["2x4x5x5:3x3", "2x4x5x5:dw3x3"], spec=compiled)
    assert sum(row.compiled for row in result.rows) == 2 * (1 + len(all_operators()))


def test_command_prints_a_table_for_each_shape() -> None:
    shapes = ["--shape", "2x4x5x5:3x3", "--shape", "2x4x5x5:dw3x3"]
    done = covtool("bench", "convs", *shapes, "--conv", "tanh:sigmoid", "--repetitions", "1")
    assert done.returncode == 0, done.stderr
    for text in ("2x4x5x5:3x3", "2x4x5x5:dw3x3", "tanh:sigmoid", "time / conv", "medians of 1"):
        assert text in done.stdout


def test_command_prints_one_json_object_of_a_step() -> None:
    step = ["--step", "test_resnet", "--step-shape", "2x3x32x32", "--conv", "tanh"]
    done = covtool("bench", "convs", *step, "--repetitions", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["model"], result["shape"]) == ("test_resnet", "2x3x32x32")
    assert [row["operator"] for row in result["rows"]] == [BASELINE, "tanh"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heads", "--conv", "tanh"], "heads takes no --conv"),
        (["heads", "--compile"], "heads takes no --compile"),
        (["heads", "--step", "resnet18"], "heads takes no --step"),
        (["convs", "--head", "isqrt"], "convs takes no --head"),
        (["convs", "--step-shape", "2x3x32x32"], "convs takes no --step-shape"),
        (["convs", "--step", "resnet18", "--shape", "2x4x5x5:3x3"], "takes no --shape"),
        (["convs", "--conv", "tahn"], "Did you mean 'tanh'"),
        (["convs", "--shape", "2x4x5x5"], "16x64x56x56:3x3"),
    ],
)
def test_options_of_the_other_benchmark_are_usage_errors(
    arguments: list[str], message: str
) -> None:
    done = covtool("bench", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
