"""JSON of commands: the same values as json's own, with lists of numbers in one line."""

import json

import pytest

from covtool_cli.render import _json_text

VALUES = (
    {},
    [],
    {"a": [1, 2.5, None, "x\n\u2028"], "b": {"c": []}, "d": {}},
    [[1, 2], []],
    [{"a": 1}, {"b": [True]}],
    {'"': "\ud800"},
    [1, [2], {"a": 3}],
)


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_are_those_that_went_in(value) -> None:
    assert json.loads(_json_text(value)) == value


def test_a_list_of_numbers_takes_one_line() -> None:
    assert _json_text({"a": [1, 2]}) == '{\n  "a": [1, 2]\n}'


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError):
        _json_text({"a": float("nan")})
