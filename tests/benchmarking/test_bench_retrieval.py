"""The benchmark of searches measures what it says; no test looks at how fast anything was."""

import json
import multiprocessing
import subprocess
import sys
from subprocess import CompletedProcess

import pytest
from in_process import covtool

from covtool.benchmarking import retrieval
from covtool.benchmarking.retrieval import SEARCHES, benchmark_retrieval
from covtool.errors import ArgumentError


def covtool_bench(*arguments: str) -> CompletedProcess:
    return covtool("bench", "retrieval", *arguments)


def measured(*arguments: str) -> CompletedProcess:
    """The same in a process of its own: it starts others, which import what it was started from."""
    command = [sys.executable, "-m", "covtool_cli", "bench", "retrieval", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each search measured by a copy of this process: a fresh one imports torch first."""
    monkeypatch.setattr(retrieval, "get_context", lambda _: multiprocessing.get_context("fork"))


SIZES = ("--shape", "40x3000x16", "--max-memory", "1GB", "--metric", "euclidean")


def assert_every_search_keeps_to_what_it_planned(done: CompletedProcess) -> None:
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["search"] for row in result["rows"]] == list(SEARCHES)
    assert (result["metric"], result["max_memory"]) == ("euclidean", "1GB")
    for row in result["rows"]:
        assert row["shape"] == "40x3000x16"
        assert row["seconds"] > 0
        assert 0 < row["planned_bytes"] < 1_000_000_000
        assert row["search_bytes"] < row["planned_bytes"]
        assert row["search_bytes"] < row["process_bytes"]


@pytest.mark.alone
@pytest.mark.usefixtures("forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_every_search_has_a_row_and_keeps_to_what_it_planned() -> None:
    done = covtool_bench(*SIZES, "--repetitions", "1", "--json")
    assert_every_search_keeps_to_what_it_planned(done)


@pytest.mark.slow
def test_every_search_keeps_to_what_it_planned_in_a_process_that_did_nothing_else() -> None:
    done = measured(*SIZES, "--repetitions", "1", "--json")
    assert_every_search_keeps_to_what_it_planned(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "fast"], "Available: exact, rerank"),
        (["--max-memory", "6"], "--max-memory '6' is not valid"),
        (["--metric", "manhattan"], "--metric 'manhattan' is not valid"),
        (["--dtype", "bfloat16"], "retrieval takes no --dtype"),
        (["--head", "isqrt"], "retrieval takes no --head"),
        (["--shape", "20x200"], "3368x19281x2048"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(arguments: list[str], message: str) -> None:
    done = covtool_bench(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.alone
@pytest.mark.usefixtures("forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_memory_that_no_search_fits_into_is_a_usage_error() -> None:
    done = covtool_bench("--shape", "20x200x8", "--max-memory", "1kB", "--search", "exact")
    assert done.returncode == 2
    assert "allows 1.0 kB" in " ".join(done.stderr.split())


def test_a_search_of_no_size_is_refused() -> None:
    with pytest.raises(ArgumentError, match="3368x19281x2048"):
        benchmark_retrieval(["0x10x10"])
