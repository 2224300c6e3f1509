"""The threshold of an index, against counting pairs one by one."""

from itertools import combinations

import pytest
import torch
from images import write_classes
from indexed_images import QUICK, make_net, write_gallery

from covtool.errors import DataError
from covtool.evaluation.features.files import read_features
from covtool.evaluation.features.table import ImageLabels
from covtool.indexing import thresholds
from covtool.indexing.building import IndexRequest, build_index
from covtool.indexing.changing import IndexChange, change_index
from covtool.indexing.distances import distances_of_pairs
from covtool.indexing.index_file import read_record
from covtool.indexing.search import SearchRequest, search_index
from covtool.indexing.thresholds import choose_threshold, paired_images
from covtool.specs.indexing import IndexSpec


def labels(*cells):
    return [ImageLabels(f"{n}.png", *cell) for n, cell in enumerate(cells)]


def people(identities=12, images=4, cameras=2):
    return labels(
        *((f"p{person}", f"c{number % cameras}" if cameras else "")
          for person in range(identities) for number in range(images))
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("cameras", [0, 2])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_rates_are_those_of_all_pairs(metric, cameras, rate):
    torch.manual_seed(0)
    rows = people(cameras=cameras)
    features = torch.randn(len(rows), 6) + torch.randn(12, 6).repeat_interleave(4, 0)
    pairs = paired_images(rows, rate)
    threshold, accepted, different, same = choose_threshold(features, pairs, rate, metric)
    wrong, right = [], []
    for a, b in combinations(range(len(rows)), 2):
        distance = float(distances_of_pairs(features[a], features[b], metric))
        if rows[a].identity != rows[b].identity:
            wrong.append(distance)
        elif not cameras or rows[a].camera != rows[b].camera:
            right.append(distance)
    assert (different, same) == (len(wrong), len(right))
    share = sum(distance <= threshold for distance in wrong) / len(wrong)
    assert rate - 1 / len(wrong) <= share <= rate
    assert accepted == pytest.approx(sum(d <= threshold for d in right) / len(right))


def test_junk_distractors_and_the_unknown_are_in_no_pair():
    rows = labels(
        ("-1", "c1"), ("0", "c1"), ("0000", "c2"), ("", "c1"), *((p, c) for p in "ab" for c in "12")
    )
    assert paired_images(rows, 0.3).rows == (4, 5, 6, 7)


def test_without_cameras_0_is_an_identity_like_others():
    rows = labels(("0",), ("0",), ("1",), ("1",))
    assert paired_images(rows, 0.3).num_identities == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (labels(("",), ("",)), "no identity is known"),
        (labels(("a",), ("a",)), "all images show one identity"),
        (labels(("a",), ("a",), ("b",)), "there are 2 pairs of two identities"),
        (labels(*((f"p{n}",) for n in range(30))), "no identity has two images that count"),
        (people(identities=12, cameras=1), "no identity has two images that count"),
    ],
)
def test_too_few_pairs_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        paired_images(rows, 0.01)


def test_a_rate_has_one_pair_at_least():
    rows = people(identities=10, images=2)  # 180 pairs of two identities
    paired_images(rows, 1 / 180)
    with pytest.raises(DataError, match="Of fewer than 182"):
        paired_images(rows, 1 / 181.5)


def test_many_images_are_drawn_by_identity_and_always_the_same(monkeypatch):
    monkeypatch.setattr(thresholds, "MOST_IMAGES", 20)
    rows = people(identities=50)
    chosen = paired_images(rows, 0.01)
    assert (len(chosen.rows), chosen.num_identities, chosen.left_out) == (20, 5, 180)
    assert chosen.rows == paired_images(rows, 0.01).rows


def test_the_index_keeps_it_with_its_rates_and_says_what_it_is_of(net, people, tmp_path):
    index = tmp_path / "g.index"
    spec = IndexSpec(threshold="auto", false_accept_rate=0.1)
    done = build_index(IndexRequest(source=net, images=(people,), output=index, spec=spec, **QUICK))
    kept = read_record(index).threshold
    assert kept == done.record.threshold
    assert (kept.different_pairs, kept.same_pairs, kept.of_gallery) == (150, 24, True)
    assert any("images of the gallery itself" in note for note in done.notes)
    table = read_features(index)
    pairs = paired_images(table.labels, 0.1)
    threshold, accepted, _, _ = choose_threshold(table.features, pairs, 0.1, "cosine")
    assert (kept.distance, kept.true_accept_rate) == (threshold, accepted)
    found = search_index(SearchRequest(index=index, queries=(people,), **QUICK))
    assert found.threshold == kept.distance
    assert found.absent == 0  # every image finds itself


def test_other_images_can_be_set_aside(net, people, tmp_path):
    aside = write_gallery(tmp_path / "aside", names=("x", "y", "z"), count=4)
    spec = IndexSpec(threshold="auto", false_accept_rate=0.05, threshold_data=aside)
    done = build_index(
        IndexRequest(source=net, images=(people,), output=tmp_path / "g.index", spec=spec, **QUICK)
    )
    kept = done.record.threshold
    assert (kept.images, kept.identities, kept.different_pairs) == (12, 3, 48)
    assert (kept.data, kept.of_gallery) == (str(tmp_path / "aside"), False)
    assert not any("gallery itself" in note for note in done.notes)


def test_images_set_aside_are_looked_at_before_the_model(people, tmp_path):
    aside = write_gallery(tmp_path / "aside", names=("x", "y", "z"), count=4)
    (tmp_path / "aside" / "x" / "0.png").write_bytes(b"no image")
    spec = IndexSpec(threshold="auto", false_accept_rate=0.05, threshold_data=aside)
    request = IndexRequest(
        source="nowhere.pth", images=(people,), output=tmp_path / "g.index", spec=spec, **QUICK
    )
    with pytest.raises(DataError, match="cannot be read"):
        build_index(request)


def test_unlabeled_images_are_refused_before_the_model(tmp_path):
    write_classes(tmp_path, {"a": 3})
    spec = IndexSpec(threshold="auto")
    request = IndexRequest(
        source="nowhere.pth", images=(tmp_path,), output=tmp_path / "g.index", spec=spec, **QUICK
    )
    with pytest.raises(DataError, match="A threshold cannot be chosen"):
        build_index(request)


def test_an_index_gets_a_threshold_later(gallery):
    spec = IndexSpec(threshold="auto", false_accept_rate=0.1)
    features = read_features(gallery).features
    done = change_index(IndexChange(index=gallery, spec=spec, **QUICK))
    assert done.record.threshold is not None
    assert (done.device, done.added) == (None, 0)  # nothing is extracted again
    assert torch.equal(read_features(gallery).features, features)


def test_a_threshold_that_images_have_changed_under_is_said(net, people, tmp_path):
    own = make_net(tmp_path / "own")
    index = tmp_path / "g.index"
    spec = IndexSpec(threshold="auto", false_accept_rate=0.1)
    build_index(IndexRequest(source=own, images=(people,), output=index, spec=spec, **QUICK))
    more = write_gallery(tmp_path / "more", names=("eve",), count=2)
    done = change_index(IndexChange(index=index, add=(more,), **QUICK))
    assert any("of the images before the change" in note for note in done.notes)
    again = change_index(IndexChange(index=index, remove=(tmp_path / "more",), spec=spec, **QUICK))
    assert not any("before the change" in note for note in again.notes)
