"""What a search is given, and what it refuses."""

import pytest
import torch

from covtool.errors import DataError, ShapeError
from covtool.evaluation.features.feature_set import FeatureSet

FEATURES = torch.rand(3, 4)
IDENTITIES = torch.tensor([1, 2, 2])


def test_sizes() -> None:
    found = FeatureSet(features=FEATURES, identities=IDENTITIES, cameras=torch.tensor([0, 0, 1]))
    assert (len(found), found.num_features) == (3, 4)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("identities", torch.tensor([1, 2])),
        ("cameras", torch.tensor([1, 2])),
    ],
)
def test_columns_of_another_length_are_refused(column: str, values: object) -> None:
    columns = {"features": FEATURES, "identities": IDENTITIES, column: values}
    with pytest.raises(DataError, match=rf"of 3 images, but {len(values)} {column}"):
        FeatureSet(**columns)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    features = FEATURES.clone()
    features[1, 2] = features[2, 0] = value
    with pytest.raises(DataError, match=r"of 2 of 3 images are not finite.* image 1"):
        FeatureSet(features=features, identities=IDENTITIES)


def test_no_images_and_no_matrix_are_refused() -> None:
    with pytest.raises(DataError, match="no features"):
        FeatureSet(features=torch.zeros(0, 4), identities=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"\(N, D\)"):
        FeatureSet(features=torch.zeros(3), identities=IDENTITIES)
