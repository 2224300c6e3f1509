"""Names of identities and cameras become numbers."""

import pytest
import torch

from covtool.errors import DataError
from covtool.evaluation.features.feature_set import JUNK_LABEL
from covtool.evaluation.features.table import FeatureTable, ImageLabels, feature_sets


def table(identities, cameras=None, splits=None):
    cameras, splits = cameras or [""] * len(identities), splits or [""] * len(identities)
    rows = zip(identities, cameras, splits, strict=True)
    return FeatureTable(
        features=torch.rand(len(identities), 2),
        labels=tuple(ImageLabels("", identity, camera, split) for identity, camera, split in rows),
    )


def test_whole_numbers_are_kept() -> None:
    query, gallery = feature_sets(table(["0002", "15"]), table(["0000", "-1", "15"]))
    assert query.identities.tolist() == [2, 15]
    assert gallery.identities.tolist() == [0, JUNK_LABEL, 15]
    assert query.cameras is gallery.cameras is None


@pytest.mark.parametrize("odd", ["tern", "1", "1.0", "9" * 30])
def test_names_get_the_same_numbers_in_query_and_gallery(odd) -> None:
    query, gallery = feature_sets(table([odd, "01", "-1"]), table(["01", "-1", odd, "7"]))
    first, second, junk = query.identities.tolist()
    assert junk == JUNK_LABEL
    assert len({first, second, JUNK_LABEL}) == 3
    assert gallery.identities.tolist()[:3] == [second, JUNK_LABEL, first]
    assert gallery.identities.tolist()[3] not in (first, second, JUNK_LABEL)


def test_cameras_are_of_all_images_or_of_none() -> None:
    query, gallery = feature_sets(table(["1", "2"], ["c1", "c2"]), table(["1"], ["c2"]))
    assert query.cameras[1] == gallery.cameras[0] != query.cameras[0]
    with pytest.raises(DataError, match="1 of 2 images have no camera"):
        feature_sets(table(["1", "2"], ["c1", ""]))
    with pytest.raises(DataError, match="1 of 1 images have no camera"):
        feature_sets(table(["1", "2"], ["c1", "c1"]), table(["1"]))


def test_images_without_identity_cannot_be_searched() -> None:
    with pytest.raises(DataError, match="1 of 3 images have no identity"):
        feature_sets(table(["1", "", "2"]))


def test_splits_say_what_is_searched_where() -> None:
    both = table(["1", "1", "2", "3"], splits=["query", "gallery", "gallery", "train"])
    query, gallery = both.query_and_gallery()
    assert (query.column("identity"), gallery.column("identity")) == (["1"], ["1", "2"])
    assert torch.equal(gallery.features, both.features[1:3])
    test, none = table(["1", "2"], splits=["train", "test"]).query_and_gallery()
    assert (test.column("identity"), none) == (["2"], None)
    whole = table(["1", "2"])
    assert whole.query_and_gallery() == (whole, None)
    with pytest.raises(DataError, match="split called 'gallery', only: query, train"):
        table(["1", "2"], splits=["train", "query"]).query_and_gallery()
