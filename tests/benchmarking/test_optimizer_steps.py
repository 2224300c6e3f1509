"""The benchmark of training steps measures what it says; no test looks at how fast anything was."""

import json

import pytest

from covtool.benchmarking.inputs import BenchmarkSpec
from covtool.benchmarking.optimizer_steps import CENTRALIZED, PLAIN, benchmark_optimizer_steps
from covtool.errors import ArgumentError, UnknownVariantError

ONCE = BenchmarkSpec(repetitions=1)
KINDS = [PLAIN, *CENTRALIZED]


def test_every_optimizer_has_a_row_for_everything_that_can_be_centralized():
    result = benchmark_optimizer_steps("test_resnet", ["2x3x24x24", "2x3x32x32"], spec=ONCE)
    keys = [(row.shape, row.optimizer, row.centralized) for row in result.rows]
    shapes = ("2x3x24x24", "2x3x32x32")
    assert keys == [(s, opt, kind) for s in shapes for opt in ("sgd", "adamw") for kind in KINDS]
    for row in result.rows:
        assert 0 < row.optimizer_ms < row.step_ms
        if row.centralized == PLAIN:
            assert (row.to_plain, row.overhead) == (1, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_dtypes_layouts_and_timms_optimizers(dtype, channels_last):
    spec = BenchmarkSpec(repetitions=1, dtype=dtype, channels_last=channels_last)
    result = benchmark_optimizer_steps("test_resnet", ["2x3x24x24"], optimizers=["lion"], spec=spec)
    assert [row.centralized for row in result.rows] == KINDS


def test_what_does_not_exist_is_refused():
    with pytest.raises(UnknownVariantError, match="Did you mean 'lamb'"):
        benchmark_optimizer_steps("test_resnet", ["2x3x24x24"], optimizers=["lambx"], spec=ONCE)
    with pytest.raises(ArgumentError, match="There is no feature map of shape '2x3x24'"):
        benchmark_optimizer_steps("test_resnet", ["2x3x24"], spec=ONCE)


def test_the_command_prints_a_table_and_json(covtool):
    arguments = ("bench", "step", "--network", "test_resnet", "--shape", "2x3x24x24", "--opt")
    code, out, err = covtool(*arguments, "sgd", "--repetitions", "1")
    assert code == 0, err
    assert "test_resnet, 2x3x24x24, float32" in out
    assert "gradient, p.grad kept" in out
    code, out, err = covtool(*arguments, "lion", "--repetitions", "1", "--json")
    assert code == 0, err
    assert {row["optimizer"] for row in json.loads(out)["rows"]} == {"lion"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["step", "--head", "isqrt"], "covtool bench step takes no --head"),
        (["heads", "--network", "resnet18"], "covtool bench heads takes no --network"),
        (["step", "--compile"], "covtool bench step takes no --compile"),
    ],
)
def test_options_of_other_benchmarks_are_refused(covtool, arguments, words):
    code, _, err = covtool("bench", *arguments)
    assert code == 2
    assert words in err
