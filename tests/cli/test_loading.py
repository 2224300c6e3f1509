"""Loading of torch by the command line: a line on a terminal, and nothing left behind."""

import gc
import io
import sys

import pytest

from covtool_cli import launching, loading


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, *, err=None, out=None, as_json=False, main=True) -> tuple[str, str]:
    """Return what is on stderr while something is loaded, and afterwards."""
    err, out = err or Terminal(), out or Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(launching, "is_main", lambda: main)
    with loading._line(as_json=as_json):
        during = err.getvalue()
    return during, err.getvalue()


def test_line_on_a_terminal_is_erased(monkeypatch) -> None:
    during, after = shown(monkeypatch)
    assert during == "loading torch ..."
    assert after == during + f"\r{' ' * len(during)}\r"


def test_line_is_erased_where_loading_fails(monkeypatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(KeyboardInterrupt), loading._line(as_json=False):
        raise KeyboardInterrupt
    assert err.getvalue().endswith("\r")


@pytest.mark.parametrize(
    "where",
    [
        {"err": io.StringIO()},
        {"as_json": True, "out": io.StringIO()},
        {"main": False},
    ],
    ids=["stderr is a file", "JSON goes to a pipe", "another process"],
)
def test_no_line_elsewhere(where, monkeypatch) -> None:
    assert shown(monkeypatch, **where) == ("", "")


@pytest.mark.parametrize("as_json", [True, False])
def test_line_where_a_person_waits_for_a_file(as_json, monkeypatch) -> None:
    out = Terminal() if as_json else io.StringIO()
    assert shown(monkeypatch, out=out, as_json=as_json)[0]


def test_nothing_is_shown_once_torch_is_there(monkeypatch) -> None:
    import torch  # noqa: F401

    monkeypatch.setattr(sys, "stderr", err := Terminal())
    with loading.libraries():
        pass
    assert not err.getvalue()


def test_hidden_packages_are_found_afterwards(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ModuleNotFoundError), loading._hidden(["colorsys"]):
        import colorsys
    import colorsys

    with loading._hidden(["colorsys"]):  # what is there already stays
        assert sys.modules["colorsys"] is colorsys
    assert sys.modules["colorsys"] is colorsys


@pytest.mark.parametrize("is_on", [True, False])
def test_collections_go_on_as_before(is_on: bool, monkeypatch) -> None:
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    was_on = gc.isenabled()
    try:
        gc.enable() if is_on else gc.disable()
        with pytest.raises(ValueError, match="x"), loading._without_collections():
            assert not gc.isenabled()
            raise ValueError("x")
        assert gc.isenabled() is is_on
    finally:
        gc.enable() if was_on else gc.disable()
    assert frozen == [True]


def test_packages_that_are_hidden_are_imported_by_timm_for_nothing_of_ours() -> None:
    from importlib.util import find_spec

    assert all(find_spec(name) for name in loading.UNUSED)
