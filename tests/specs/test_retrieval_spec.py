"""Options of a search."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from covtool.errors import ArgumentError
from covtool.specs import RetrievalSpec


def test_defaults_are_those_of_fast_reid() -> None:
    spec = RetrievalSpec(rerank=True)
    spec.validate_fields()
    numbers = (spec.reciprocal_neighbors, spec.averaged_neighbors, spec.distance_weight)
    assert numbers == (20, 6, 0.3)
    assert RetrievalSpec(max_memory="6GB").memory_bytes == 6 * 10**9


def test_zero_is_a_weight_of_its_own() -> None:
    assert RetrievalSpec(rerank=True, lambda_=0).distance_weight == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 10}, "--k1 has no effect without --rerank"),
        ({"lambda_": 0.3}, "--lambda has no effect without --rerank"),
        ({"rerank": True, "k1": 5}, "--k2 6 is larger than --k1 5"),
        ({"distances_from": Path("a.npz"), "flip_test": True}, "no model is run"),
        ({"distances_from": Path("a.npz"), "save_features": Path("b.npz")}, "no model is run"),
        ({"save_ranks": Path("ranks.pdf")}, "ranks.pdf is not the name of a PNG file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RetrievalSpec(**settings).validate_fields()


@pytest.mark.parametrize("amount", ["6", "lots", "0GB", "GB", "-1GB", "1e3MB"])
def test_amounts_of_memory_have_a_unit(amount: str) -> None:
    with pytest.raises(ValidationError, match="800MB, 4GB or 16GiB"):
        RetrievalSpec(max_memory=amount)
