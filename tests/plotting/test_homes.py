"""Figures where matplotlib cannot keep anything."""

import os
import subprocess
import sys

PLOT = """
import sys
from pathlib import Path
from covtool.plotting.operators import plot_operators
from covtool.specs.plotting import OperatorPlotSpec
plot_operators(Path(sys.argv[1]), OperatorPlotSpec(panel="h"))
"""


def test_a_home_that_cannot_be_written_to_is_not_remarked_on(tmp_path):
    (tmp_path / "file").touch()
    environment = {**os.environ, "HOME": str(tmp_path / "file/home")}
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    command = [sys.executable, "-c", PLOT, tmp_path / "x.svg"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "x.svg").is_file()
