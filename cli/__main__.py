"""`python -m covtool_cli` is the `covtool` command."""

from covtool_cli.main import run

run()
