import pytest

from covtool.checkpoints.metadata.class_lists import read_class_names
from covtool.errors import DataError


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("c.txt", "b\na\n\nc d\n", ("b", "a", "c d")),
        ("c.txt", "tench, Tinca tinca\nstingray\n", ("tench, Tinca tinca", "stingray")),
        ("c.txt", "1 001.Black_footed\n2 002.Laysan\n", ("001.Black_footed", "002.Laysan")),
        ("c.txt", "1: a\n0: b\n", ("b", "a")),
        ("c.txt", "/a/airfield 0\n/b/bar 1\n", ("/a/airfield", "/b/bar")),
        ("c.txt", "a,1\nb,0\n", ("b", "a")),
        ("c.txt", "class 0\nclass 1\n", ("class 0", "class 1")),
        ("c.txt", "boeing 737\nboeing 747\n", ("boeing 737", "boeing 747")),
        ("c.txt", "2\n10\n1\n", ("2", "10", "1")),
        ("c.txt", "\ufeffa\nb\n", ("a", "b")),
        ("c.json", '["b", "a"]', ("b", "a")),
        ("c.json", '{"a": 1, "b": 0}', ("b", "a")),
        ("c.json", '{"0": ["n01", "tench"], "1": ["n02", "goldfish"]}', ("n01", "n02")),
        ("c.json", '{"version": 1, "class_to_idx": {"a": 1, "b": 0}}', ("b", "a")),
        ("c.yaml", "names:\n  0: b\n  1: a\n", ("b", "a")),
    ],
)
def test_names_come_in_the_order_of_the_outputs(tmp_path, name, text, names):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / name) == names


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("c.txt", "", "does not name classes"),
        ("c.txt", "a\nb\na\n", "'a' is the name of 2 of its 3 classes"),
        ("c.json", '{"a": 1, "b": 2}', "not 0 to 1"),
        ("c.json", "{", "does not name classes"),
        ("c.json", "[1, 2]", "does not name classes"),
        ("c.json", '{"0": "LABEL_0"}', "does not name classes"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_what_names_no_classes_is_refused(tmp_path, name, text, reason):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        read_class_names(tmp_path / name)
