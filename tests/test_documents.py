import pytest

from covtool.documents import DEEPEST, MOST_VALUES, parse_json, parse_yaml

LAUGHS = (
    "a: &a ["
    + "1," * 1000
    + "]\n"
    + "".join(
        f"{name}: &{name} [" + f"*{before}," * 1000 + "]\n"
        for before, name in zip("abcd", "bcde", strict=True)
    )
)

REFUSED_YAML = {
    "a mapping within itself": ("a: &a [*a]", "holds itself"),
    "an alias of nothing": ("a: *b", "alias of nothing|undefined"),
    "a key twice": ("lr: 1\nlr: 2", "'lr' stands twice"),
    "a key twice, deeper": ("a:\n  - {b: 1, b: 2}", "'b' stands twice"),
    "a list as a key": ("? [1]\n: 2", "A key is a list"),
    "a tag": ("a: !!binary x", "has a tag"),
    "a tag of Python": ("!!python/object/apply:os.system [id]", "has a tag"),
    "a NUL": ("a: \x00", "not YAML"),
    "an end too early": ("a: [", "not YAML.*line"),
    "billions of values": (LAUGHS, f"{MOST_VALUES:,} values"),
    "a nesting too deep": ("[" * (DEEPEST + 1), f"{DEEPEST} levels"),
    "a number without end": ("a: " + "1" * 5000, "thousands of digits"),
    "two documents": ("a: 1\n---\nb: 2", "not YAML"),
}

REFUSED_JSON = {
    "a key twice": ('{"a": 1, "a": 2}', "'a' stands twice"),
    "half a character": ('["\\ud800"]', "lone surrogate"),
    "half a character as a key": ('{"\\uDC00": 1}', "lone surrogate"),
    "a nesting too deep": ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"{DEEPEST} levels"),
    "a nesting far too deep": ("[" * 100_000, f"{DEEPEST} levels"),
    "a number without end": ("1" * 5000, "thousands of digits"),
    "nothing": ("", "not JSON"),
    "half a document": ('{"a": ', "not JSON.*line 1"),
}


@pytest.mark.parametrize("text, reason", REFUSED_YAML.values(), ids=REFUSED_YAML)
def test_yaml_is_refused_with_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as problem:
        parse_yaml(text)
    assert str(problem.value).isprintable()


@pytest.mark.parametrize("text, reason", REFUSED_JSON.values(), ids=REFUSED_JSON)
def test_json_is_refused_with_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as problem:
        parse_json(text)
    assert str(problem.value).isprintable()


def test_usual_documents_are_read_as_ever():
    assert parse_yaml("a: &x {b: 1}\nc:\n  <<: *x\n  b: 2") == {"a": {"b": 1}, "c": {"b": 2}}
    assert parse_yaml("lr: 1e-3\nnames: [yes, 2020-01-01]") == {
        "lr": "1e-3",
        "names": [True, "2020-01-01"],
    }
    assert parse_yaml("") is None
    assert parse_json('["\\ud83d\\ude00", "[[[[", {"a": null}]') == ["😀", "[[[[", {"a": None}]


def test_brackets_within_text_are_no_nesting():
    text = '["' + '[{\\"' * 1000 + '"]'
    assert parse_json(text) == ['[{"' * 1000]
