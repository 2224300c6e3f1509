"""The head benchmark measures what it says; no test looks at how fast anything was."""

import json

import pytest
import torch
from in_process import covtool
from tolerances import FLOAT64
from torch.testing import assert_close

from covtool.benchmarking.heads import BASELINE, PUBLISHED, TEXTBOOK, all_heads, benchmark_heads
from covtool.benchmarking.heads import textbook_isqrt as textbook
from covtool.benchmarking.measuring import measure
from covtool.benchmarking.published_isqrt import published_isqrt
from covtool.errors import ArgumentError, UnknownVariantError
from covtool.ops import isqrt_covariance, triu_vec
from covtool.variants import HEADS


def test_textbook_form_is_the_same_function() -> None:
    features = torch.rand(2, 6, 3, 4, dtype=torch.float64)
    assert_close(textbook(features), isqrt_covariance(features), **FLOAT64)


def test_published_arithmetic_is_the_same_function_with_the_same_gradient() -> None:
    features = torch.rand(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(-1, 2, 42, dtype=torch.float64).reshape(2, 21)
    outcomes = []
    for vectors in (published_isqrt(features), triu_vec(isqrt_covariance(features))):
        (grad,) = torch.autograd.grad((vectors * weights).sum(), features)
        outcomes.append((vectors.detach(), grad))
    assert_close(*outcomes, **FLOAT64)


def test_every_head_and_every_rule_has_a_row() -> None:
    result = benchmark_heads(["2x8x3x3"], repetitions=1)
    names = [row.head for row in result.rows]
    assert set(names) == {TEXTBOOK, PUBLISHED, *all_heads()}
    assert set(HEADS.names) <= set(names)
    for row in result.rows:
        assert row.cost.peak_mib > 0
        assert (row.root_error is not None) == (
            row.head == TEXTBOOK
            or (row.head != PUBLISHED and HEADS[row.head.partition(":")[0]].is_root)
        )
    by_name = {row.head: row for row in result.rows}
    assert by_name["mpn"].root_error < 1e-6 < by_name["isqrt"].root_error < 0.5
    assert by_name[BASELINE].to_gap == 1
    assert by_name[TEXTBOOK].to_textbook == 1


def test_memory_counts_result_and_gradient() -> None:
    features = torch.rand(4, 256, 256)
    cost = measure({"double": lambda x: 2 * x}, features, repetitions=1)["double"]
    assert cost.peak_mib >= 2  # result and gradient, a MiB each


def test_wrong_shapes_and_heads_are_refused() -> None:
    with pytest.raises(ArgumentError, match="16x256x7x7"):
        benchmark_heads(["16x256"])
    with pytest.raises(UnknownVariantError, match="Did you mean 'isqrt'"):
        benchmark_heads(["2x8x3x3"], heads=["isqr"])
    with pytest.raises(UnknownVariantError, match="Did you mean 'taylor'"):
        benchmark_heads(["2x8x3x3"], heads=["mpn:tailor"])


def test_command_prints_one_json_object() -> None:
    shape = ("--shape", "2x8x3x3", "--repetitions", 1)
    done = covtool("bench", "heads", *shape, "--head", "isqrt", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [row["head"] for row in rows] == ["textbook", "published", "gap", "isqrt"]
    assert "USDT" not in done.stderr
