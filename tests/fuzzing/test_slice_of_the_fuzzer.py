"""A slice of `make fuzz`: the same cases each time, a few of every kind."""

import pytest

from fuzzing.case import Case
from fuzzing.kinds import KINDS
from fuzzing.running import make_seeds, run_case

SEED = 0
CASES = 4


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    return tmp_path_factory.mktemp("seeds")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_whatever_the_bytes_a_call_keeps_the_promise(kind, seeds, tmp_path):
    if not kind.is_readable:
        pytest.skip(f"{kind.needs} is not installed")
    make_seeds(kind, seeds)
    broken = {}
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        report = run_case(Case(kind, SEED, number), seeds, folder)
        if report.broken:
            broken[report.name] = report.broken
    assert not broken
