"""The collection of garbage is left out for a while, and comes back."""

import gc
import weakref

import pytest

from covtool.data.datasets.garbage import without_collection


@without_collection()
def is_collected():
    return gc.isenabled()


def test_it_comes_back_also_after_an_error() -> None:
    assert (is_collected(), gc.isenabled()) == (False, True)
    assert (is_collected(), gc.isenabled()) == (False, True)
    with pytest.raises(ValueError, match="wrong"), without_collection():
        raise ValueError("wrong")
    assert gc.isenabled()


def test_within_another_one_the_outer_one_decides() -> None:
    with without_collection():
        assert not is_collected()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        is_collected()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_refers_to_no_one_in_a_circle_is_freed_without_it() -> None:
    class Row(list):
        pass

    with without_collection():
        row = Row()
        seen = weakref.ref(row)
        del row
        assert seen() is None
