"""Of many images some are decoded beforehand: that is said, and a bad one comes up all the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from evaluated_toys import evaluated_toy
from images import write_classes

from covtool.data.datasets import checking
from covtool.data.datasets.checking import CheckedSamples, check_splits
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.evaluation import evaluate as evaluating

DRAWN = 4


@pytest.fixture
def splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Sample]]:
    monkeypatch.setattr(checking, "DRAWN", DRAWN)
    write_classes(tmp_path / "train", {"cat": 5, "dog": 4})
    write_classes(tmp_path / "val", {"cat": 1, "dog": 2})
    return dict(scan(tmp_path).splits)


def decoded(splits: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch, **how) -> set[Path]:
    """The images that a check decodes."""
    seen, decode = set(), checking.decode_image

    def remembered(path: Path) -> object:
        seen.add(path)
        return decode(path)

    with monkeypatch.context() as patched:
        patched.setattr(checking, "decode_image", remembered)
        check_splits(splits, **how)
    return seen


def notes(parts: dict[str, CheckedSamples]) -> str:
    return "\n".join(checking.notes_on_images(parts.values(), exif=False))


def test_up_to_the_limit_every_image_is_decoded(splits, monkeypatch) -> None:
    every = {sample.path for samples in splits.values() for sample in samples}
    for at_most in (None, 12, 100):
        assert decoded(splits, monkeypatch, at_most=at_most) == every
        assert notes(check_splits(splits, at_most=at_most)) == ""


def test_beyond_it_some_of_each_split_are_decoded_from_first_to_last(splits, monkeypatch) -> None:
    seen = decoded(splits, monkeypatch, at_most=11)
    train, val = (list(splits[name]) for name in ("train", "val"))
    assert seen == {train[0].path, train[4].path, train[8].path, val[0].path}
    checked = check_splits(splits, at_most=11)
    assert all(part.good is splits[name] for name, part in checked.items())
    assert "Of 12 images, more than 100,000, 4 were decoded beforehand" in notes(checked)


def test_a_bad_image_that_is_drawn_is_an_error_or_left_out(splits) -> None:
    splits["train"][4].path.write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 3 images cannot be read"):
        check_splits(splits, at_most=11)
    checked = check_splits(splits, at_most=11, on_bad_image="skip")
    assert [path.name for path, _ in checked["train"].bad] == [splits["train"][4].path.name]
    assert len(checked["train"].good) == 8


def test_a_bad_image_that_is_not_drawn_is_in_no_figure(tmp_path, monkeypatch) -> None:
    request = evaluated_toy(tmp_path)
    monkeypatch.setattr(checking, "DRAWN", 2)
    monkeypatch.setattr(evaluating, "DECODED_AT_MOST", 8)
    bad = list(scan(request.data).samples("val"))[1].path
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=str(bad)):
        evaluating.evaluate(request)
    done = evaluating.evaluate(replace(request, on_bad_image="skip"))
    assert done.result.images == 8
    assert [path for path, _ in done.unreadable] == [bad]
    assert bad not in done.paths
    assert len(done.paths) == 8
    assert any("decoded beforehand" in note for note in done.notes)
