"""Whatever is written in JSON and YAML, it is read as it is or refused in one line."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from covtool.documents import parse_json, parse_yaml
from covtool.printable import printable
from covtool.specs import Recipe
from fuzzing.mutators.values import FLOATS, INTEGERS, TEXTS

REPEATED = settings(derandomize=True, deadline=None, database=None, max_examples=60)

numbers = st.integers() | st.sampled_from(INTEGERS) | st.floats(allow_nan=False)
texts = st.text(max_size=20) | st.sampled_from([t[:99] for t in TEXTS if "\ud800" not in t])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
odd_values = values | st.sampled_from(FLOATS)


def refused_in_one_line(parse, text):
    try:
        parse(text)
    except ValueError as problem:
        assert str(problem) == printable(str(problem), longest=1000)


@REPEATED
@given(values)
def test_json_is_read_as_it_was_written(value):
    assert parse_json(json.dumps(value)) == value


@REPEATED
@given(values)
def test_yaml_is_read_as_it_was_written(value):
    plain = json.loads(json.dumps(value))  # YAML's writer makes aliases of what is there twice
    assert parse_yaml(yaml.safe_dump(plain, allow_unicode=True)) == plain


@REPEATED
@given(st.text() | st.text("{}[]:,\"'\\-&*!|>%@`#?~<= \n\tau0129.e", max_size=60))
@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_any_text_is_read_or_refused_in_one_line(parse, text):
    refused_in_one_line(parse, text)


PLACES = [
    ("base", "name"), ("base", "library"), ("base", "arguments"), ("input", "size"),
    ("input", "mean"), ("input", "std"), ("input", "crop_pct"), ("num_classes",), ("class_names",),
    ("operations",), ("provenance",), ("version",),
]  # fmt: skip


@REPEATED
@given(st.sampled_from(PLACES), odd_values)
def test_a_recipe_with_any_value_anywhere_is_a_recipe_or_refused(place, value):
    recipe = {"base": {"library": "timm", "name": "resnet18"}, "num_classes": 3, "input": {}}
    around = recipe
    for name in place[:-1]:
        around = around[name]
    around[place[-1]] = value
    try:
        made = Recipe.model_validate(recipe)
    except ValidationError:
        return
    assert Recipe.model_validate_json(made.model_dump_json()) == made
