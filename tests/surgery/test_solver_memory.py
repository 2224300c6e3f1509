"""A bound on the memory of a calibration's solver is kept, as the system counts what is held."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import solver_memory
from solver_memory import CASES

SCRIPT = Path(solver_memory.__file__)
SLOW = "dual by Cholesky factors"  # more rows than a few


def measured(*names: str) -> list[dict[str, float]]:
    # The allocator is to be as commands have it; settings of the environment would be left alone.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *names],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    "names",
    [
        pytest.param([name for name in CASES if name != SLOW], id="all others"),
        pytest.param([SLOW], marks=pytest.mark.slow, id=SLOW),
    ],
)
def test_no_plan_holds_more_than_its_bound(names: list[str]) -> None:
    found = measured(*names)
    assert [row["name"] for row in found] == names
    for row in found:
        assert row["planned_mib"] <= row["limit_mib"], row
        # Less than half of it would be a bound that a case does not come near.
        assert row["limit_mib"] / 2 < row["peak_mib"] <= row["limit_mib"], row
