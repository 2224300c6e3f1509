"""docs/hostile-input.md states the bounds that hold."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hostile-input.md").read_text()

ROWS = re.findall(r"^\| [^|]+ \| ([\d,.]+) ?([^|]*) \| `([^`]+): (\w+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("number", "unit", "file", "name"), ROWS)
def test_the_page_states_the_constant(number, unit, file, name):
    module = file.removesuffix(".py").removeprefix("tests/").replace("/", ".")
    in_bytes = unit == "MiB" and not name.endswith("_MIB")
    stated = float(number.replace(",", "")) * (2**20 if in_bytes else 1)
    assert getattr(import_module(module), name) == stated


def test_every_row_of_the_table_names_a_constant():
    assert len(ROWS) == len(re.findall(r"^\| .*\|$", PAGE, re.MULTILINE)) - 2


def test_the_files_that_the_page_names_are_there():
    for name in re.findall(r"`((?:tests|covtool)/[\w/.]+)", PAGE):
        assert (ROOT / name).exists(), name
