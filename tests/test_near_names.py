"""What was meant by a name that does not exist."""

import pytest

from covtool.near_names import SYNONYMS, guess, nearest
from covtool.specs.finetuning import PHASED, SETTINGS


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("isqr", ("mpn", "isqrt"), "isqrt"),
        ("ISQRT", ("mpn", "isqrt"), "isqrt"),
        ("mpn-cov", ("mpn", "isqrt"), "mpn"),
        ("AdamW", ("adamax", "adamw"), "adamw"),
        ("img_size", ("img-size",), "img-size"),
        ("fp16", ("float32", "float16"), "float16"),
        ("fp16", ("amp", "opt"), "amp"),
        ("fp16", ("lr",), None),
        ("zzz", ("mpn", "isqrt"), None),
        ("", ("mpn",), None),
    ],
)
def test_nearest(typed, known, meant) -> None:
    assert nearest(typed, known) == meant
    assert (meant is None) == (guess(typed, known) == "")


def test_synonyms_are_written_as_they_are_compared_and_are_no_names_themselves() -> None:
    assert all(word == "".join(filter(str.isalnum, word)).lower() for word in SYNONYMS)
    fields = {f for spec in (SETTINGS | PHASED).values() for f in spec.model_fields}
    assert not SYNONYMS.keys() & {f.replace("_", "") for f in fields}


def test_an_endless_name_takes_no_time() -> None:
    assert nearest("x" * 10_000_000, ("mpn",)) is None
