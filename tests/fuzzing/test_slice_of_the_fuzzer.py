"""A slice of `make fuzz`: every kind of file as it is, and a few damaged ones, the same each time.

No socket may be opened meanwhile, not even to this machine, and no program be started. What breaks
here is told by name: `make fuzz KIND=... ` has the same cases, and `--only NAME` shows one.
"""

import pytest

from fuzzing.case import Case
from fuzzing.kinds import KINDS
from fuzzing.running import make_seeds, read_whole, run_case

SEED = 0
CASES = (0, pytest.param(1, marks=pytest.mark.slow))

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@every_kind
def test_whole_files_are_read_and_nothing_else_is_touched(kind, seeds, tmp_path):
    make_seeds(kind, seeds)
    reports = read_whole(kind, seeds, tmp_path / "whole", most=1)
    assert reports
    for report in reports:
        assert (report.code, report.broken) == (kind.whole_code, []), report


@every_kind
@pytest.mark.parametrize("number", CASES)
def test_whatever_the_bytes_a_call_keeps_the_promise(number, kind, seeds, tmp_path):
    make_seeds(kind, seeds)
    report = run_case(Case(kind, SEED, number), seeds, tmp_path)
    assert not report.broken, report.name
