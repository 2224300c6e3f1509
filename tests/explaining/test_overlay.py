"""Maps over pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from covtool.errors import ArgumentError, ShapeError
from covtool.explaining import overlay, resized
from covtool.explaining.overlays import require_colors


def test_what_speaks_for_a_class_is_brighter_and_the_rest_is_as_it_was() -> None:
    photo = Image.new("RGB", (40, 20), (40, 60, 80))
    drawn = np.asarray(overlay(photo, torch.tensor([[-1.0, 0.0, 0.0, 2.0]])))
    assert drawn.shape == (20, 40, 3)
    assert (drawn[:, :15] == (40, 60, 80)).all()
    assert drawn[10, 38].sum() > drawn[10, 30].sum()


def test_maps_that_are_compared_have_one_scale() -> None:
    photo, half = Image.new("RGB", (8, 8)), torch.full((2, 2), 0.5)
    alone, compared = (np.asarray(overlay(photo, half, largest=top)) for top in (None, 1.0))
    assert alone.max() > compared.max() > 0
    assert not np.asarray(overlay(photo, torch.zeros(2, 2))).any()


def test_a_map_lies_where_its_positions_are() -> None:
    grown = resized(torch.tensor([[0.0, 1.0]]), (4, 8))
    assert grown.shape == (4, 8)
    assert grown[:, 1].max() == 0
    assert grown[:, 6].min() == 1


def test_a_batch_of_maps_is_no_map() -> None:
    with pytest.raises(ShapeError, match="values must have shape"):
        overlay(Image.new("RGB", (8, 8)), torch.zeros(1, 2, 2))


def test_without_matplotlib_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covtool.explaining.overlays.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match="colored by matplotlib"):
        require_colors()
