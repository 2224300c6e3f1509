"""`covtool bench` is a group: each benchmark takes its own options and no others."""

import os
import subprocess
import sys

import pytest

from covtool.benchmarking import heads
from covtool.benchmarking import retrieval as library_retrieval
from covtool_cli.commands.bench import BENCHMARKS, retrieval


@pytest.fixture
def measured(monkeypatch):
    """Records with which settings heads were measured, and measures nothing."""
    calls = []

    def record(shapes, **settings):
        calls.append({"shapes": list(shapes), **settings})
        return heads.HeadBenchmark(machine="none", dtype="float32", repetitions=1, rows=())

    monkeypatch.setattr(heads, "benchmark_heads", record)
    return calls


@pytest.mark.parametrize(
    "arguments",
    [
        ("--shape", "2x8x3x3"),
        ("heads", "--shape", "2x8x3x3"),
        ("--shape", "2x8x3x3", "heads"),
        ("--json", "heads", "--shape", "2x8x3x3"),
        ("--json", "--shape", "2x8x3x3"),
    ],
    ids=" ".join,
)
def test_heads_are_measured_where_no_other_benchmark_is_named(covtool, measured, arguments) -> None:
    code, _, err = covtool("bench", *arguments)
    assert code == 0, err
    (call,) = measured
    assert call["shapes"] == ["2x8x3x3"]
    assert call["repetitions"] == 15


def test_the_value_of_an_option_is_not_taken_for_a_benchmarks_name(covtool, measured) -> None:
    code, _, err = covtool("bench", "--head", "data", "--shape", "2x8x3x3")
    assert code == 2
    assert "There is no head named 'data'" in err


def test_a_variable_is_for_every_benchmark_that_takes_the_option(
    covtool, measured, monkeypatch
) -> None:
    monkeypatch.setenv("COVTOOL_BENCH_REPETITIONS", "7")
    monkeypatch.setenv("COVTOOL_BENCH_NETWORK", "resnet18")  # of another benchmark
    code, _, err = covtool("bench", "heads")
    assert code == 0, err
    assert measured[0]["repetitions"] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "--device", "cpu"), "bench data takes no --device"),
        (("data", "--tf32"), "It belongs to covtool bench heads"),
        (("retrieval", "--tf32"), "bench retrieval takes no --tf32"),
        (("heads", "--color-jitter", "0"), "It belongs to covtool bench data."),
        (("heads", "-j", "1"), "bench heads takes no -j"),
        (("hed",), "Did you mean 'heads'?"),
        (("heads", "--repetitoins", "1"), "No such option: --repetitoins"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_option_of_another_benchmark_is_a_usage_error(covtool, arguments, words) -> None:
    code, _, err = covtool("bench", *arguments)
    assert code == 2
    assert words in err


def test_help_lists_the_benchmarks(covtool) -> None:
    code, out, _ = covtool("bench", "--help")
    assert code == 0
    assert all(name in out for name in BENCHMARKS)


@pytest.mark.parametrize(
    ("words", "count", "completed"),
    [("covtool bench ", 2, set(BENCHMARKS)), ("covtool bench convs --st", 3, {"--step"})],
)
def test_a_shell_completes_benchmarks_and_their_options(words, count, completed) -> None:
    variables = {
        "_COVTOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    program = "from covtool_cli.main import run; import sys; sys.argv[0] = 'covtool'; run()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed <= set(done.stdout.split()), done.stderr


def test_searches_are_those_of_the_library() -> None:
    assert retrieval.SEARCHES == library_retrieval.SEARCHES
