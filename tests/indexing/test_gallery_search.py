"""A search in an index, against distances computed one by one in float64."""

import shutil

import numpy as np
import pytest
import torch
from exported_models import head, model_of
from images import write_image
from indexed_images import NAMES, PER_NAME, QUICK, make_net, write_gallery
from operation_cases import IMAGES

from covtool.checkpoints.model_file import save
from covtool.errors import ArgumentError, CheckpointError, DataError
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.features.files import read_features
from covtool.evaluation.retrieval.exact_search import SearchFeatures
from covtool.indexing.building import IndexRequest, build_index
from covtool.indexing.distances import distances_among, distances_of_pairs
from covtool.indexing.nearest import UnknownRelevance, find_nearest
from covtool.indexing.search import SearchRequest, search_index
from covtool.specs import BaseSpec, ModelSource, RetrievalSpec
from covtool.specs.indexing import GallerySearchSpec, IndexSpec


def search(index, *queries, model=None, **spec):
    request = SearchRequest(
        source=model, index=index, queries=queries, spec=GallerySearchSpec(**spec), **QUICK
    )
    return search_index(request)


def by_hand(x, y, metric):
    x, y = x.double().numpy(), y.double().numpy()
    if metric == "euclidean":
        return np.sqrt(((x - y) ** 2).sum())
    return 1 - x @ y / np.sqrt((x @ x) * (y @ y))


def searched(features, queries, metric, k, **settings):
    data = SearchFeatures(
        query=queries,
        gallery=features,
        relevance=UnknownRelevance(len(queries), len(features)),
    )
    return list(find_nearest(data, RetrievalSpec(metric=metric, **settings), k))


@pytest.mark.parametrize("rerank", [False, True])
def test_every_image_of_the_gallery_finds_itself_first(made, people, rerank):
    done = search(made, people, k=3, rerank=rerank)
    assert len(done.answers) == len(NAMES) * PER_NAME
    for answer in done.answers:
        assert done.folder / answer.hits[0].path == answer.query
        assert answer.hits[0].distance < 1e-12
        assert [hit.rank for hit in answer.hits] == [1, 2, 3]
        assert answer.hits[0].identity == answer.identity


def test_a_copy_is_as_near_as_the_image_itself_which_comes_first(net, people, tmp_path):
    listed = write_gallery(tmp_path, names=("x", "y"), count=2)
    shutil.copy(tmp_path / "y" / "1.png", tmp_path / "x" / "0.png")
    build_index(IndexRequest(source=net, images=(listed,), output=tmp_path / "g.index", **QUICK))
    answer = search(tmp_path / "g.index", tmp_path / "y" / "1.png").answers[0]
    assert [hit.path for hit in answer.hits[:2]] == ["y/1.png", "x/0.png"]
    (hit,) = search(tmp_path / "g.index", tmp_path / "y" / "1.png", k=1).answers[0].hits
    assert (hit.path, hit.rank) == ("y/1.png", 1)
    only = search(tmp_path / "g.index", tmp_path / "y" / "1.png", k=1, exclude_same=True)
    assert only.answers[0].hits[0].path == "x/0.png"
    elsewhere = shutil.copy(tmp_path / "y" / "1.png", tmp_path / "copy.png")
    answer = search(tmp_path / "g.index", elsewhere).answers[0]
    assert [hit.path for hit in answer.hits[:2]] == ["x/0.png", "y/1.png"]


def test_an_image_that_has_changed_is_not_its_own_match(gallery, net, tmp_path):
    listed = write_gallery(tmp_path / "own")
    index = tmp_path / "own.index"
    build_index(IndexRequest(source=net, images=(listed,), output=index, **QUICK))
    changed = write_image(tmp_path / "own" / "ann" / "0.png", seed=999)
    hits = search(index, changed, k=20).answers[0].hits
    assert next(hit.distance for hit in hits if hit.path == "ann/0.png") > 1e-6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_and_order_are_those_of_pairs_in_float64(net, people, tmp_path, metric):
    index = tmp_path / "g.index"
    spec = IndexSpec(metric=metric)
    build_index(IndexRequest(source=net, images=(people,), output=index, spec=spec, **QUICK))
    table = read_features(index)
    place = {label.path: row for row, label in enumerate(table.labels)}
    done = search(index, people, k=20)
    for row, answer in enumerate(done.answers):
        distances = [by_hand(table.features[row], other, metric) for other in table.features]
        found = [hit.distance for hit in answer.hits]
        assert found == sorted(found)
        assert np.allclose(found, sorted(distances), atol=1e-7)
        for hit in answer.hits:
            assert abs(hit.distance - distances[place[hit.path]]) < 1e-7


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ties_are_in_the_order_of_the_gallery(metric):
    row = torch.randn(1, 6)
    features = torch.cat([-row, row, row, -row, row]).repeat(30, 1)
    found = searched(features, row, metric, 60)[0]
    same = [place for place in range(150) if place % 5 in (1, 2, 4)]
    assert found.places.tolist() == same[:60]
    assert found.distances.tolist() == [0.0] * 60


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_of_any_size_find_the_same(metric):
    torch.manual_seed(0)
    features, queries = torch.randn(700, 24), torch.randn(40, 24)
    whole = searched(features, queries, metric, 9)
    parts = searched(features, queries, metric, 9, max_memory="64.2MB")
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.places, other.places)
        assert torch.equal(one.distances, other.distances)


def test_too_little_memory_is_refused_before_the_model_runs(made, people):
    with pytest.raises(ArgumentError, match="--max-memory"):
        search(made, people, max_memory="1MB")


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_distances_of_any_magnitude(scale):
    torch.manual_seed(0)
    x = torch.randn(6, 5)
    expected = distances_of_pairs(x[:, None], x, "cosine")
    assert torch.allclose(distances_of_pairs(x[:, None] * scale, x, "cosine"), expected)
    blocks = torch.cat([block for _, block in distances_among(x * scale, "cosine")])
    assert torch.allclose(blocks, expected, atol=1e-12)
    far = torch.cat([block for _, block in distances_among(x + 1000, "euclidean")])
    assert torch.allclose(far, distances_of_pairs((x + 1000)[:, None], x + 1000, "euclidean"))


def test_a_vector_of_zeros_is_at_1_from_every_other():
    x = torch.tensor([[0.0, 0], [1, 2]])
    assert distances_of_pairs(x[0], x, "cosine").tolist() == [1, 1]
    blocks = torch.cat([block for _, block in distances_among(x, "cosine")])
    assert blocks[0].tolist() == [1, 1]


@pytest.mark.parametrize("rerank", [False, True])
def test_the_query_itself_is_left_out_on_request(made, people, rerank):
    done = search(made, people, k=50, exclude_same=True, rerank=rerank)
    for answer in done.answers:
        assert len(answer.hits) == len(NAMES) * PER_NAME - 1
        assert done.folder / answer.hits[0].path != answer.query


def test_images_of_the_querys_own_camera_are_left_out_on_request(made, people):
    for answer in search(made, people, k=50, cameras=True).answers:
        assert {hit.camera for hit in answer.hits} == {"c0", "c1"} - {answer.camera}


def test_cameras_that_are_unknown_are_said(made, people):
    with pytest.raises(DataError, match="1 of 1 queries the camera is unknown"):
        search(made, people.parent / "ann" / "0.png", cameras=True)


def test_re_ranking_orders_as_the_evaluation_does():
    torch.manual_seed(0)
    gallery, queries = torch.randn(60, 8), torch.randn(7, 8)
    sets = (
        FeatureSet(features=queries, identities=torch.arange(7)),
        FeatureSet(features=gallery, identities=torch.arange(60)),
    )
    expected = evaluate_retrieval(*sets, RetrievalSpec(rerank=True), keep=5)
    found = searched(gallery, queries, "cosine", 5, rerank=True)
    assert [nearest.places.tolist() for nearest in found] == expected.matches.tolist()


def test_a_re_ranking_says_that_queries_take_part(made, people):
    assert any("Re-ranking uses the queries" in n for n in search(made, people, rerank=True).notes)


def test_another_model_is_refused_with_both_fingerprints(made, people, tmp_path):
    other = make_net(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="is not the model of") as caught:
        search(made, people, model=str(other))
    assert caught.value.reason.count("fingerprint") == 1
    assert str(other) in caught.value.reason


def test_a_model_that_cannot_take_the_images_of_the_index_is_not_its_model(made, people, tmp_path):
    larger = IMAGES.model_copy(update={"size": (64, 64)})
    network = BaseSpec(library="timm", name="resnet10t")
    other = save(
        model_of(head("isqrt"), base=network, images=larger), tmp_path / "other.safetensors"
    )
    with pytest.raises(CheckpointError, match="cannot be opened as the model of") as caught:
        search(made, people, model=str(other))
    assert "one position" in caught.value.reason
    assert "--model FILE" in caught.value.hint


def test_a_model_that_was_replaced_is_refused_too(people, tmp_path):
    net = make_net(tmp_path / "net")
    index = tmp_path / "g.index"
    build_index(IndexRequest(source=net, images=(people,), output=index, **QUICK))
    shutil.copy(make_net(tmp_path / "other", seed=1), net)
    with pytest.raises(CheckpointError, match="is not the model of"):
        search(index, people)


def test_a_model_that_has_moved_is_given_anew(people, tmp_path):
    net = make_net(tmp_path / "net")
    index = tmp_path / "g.index"
    build_index(IndexRequest(source=net, images=(people,), output=index, **QUICK))
    moved = net.rename(tmp_path / "moved.safetensors")
    with pytest.raises(CheckpointError, match="cannot be opened") as caught:
        search(index, people)
    assert "--model" in caught.value.hint
    assert search(index, people, k=1, model=str(moved)).answers[0].hits


def test_images_are_prepared_as_those_of_the_index(net, people, tmp_path):
    index = tmp_path / "g.index"
    source = ModelSource(name=str(net), input={"size": (48, 40)})
    build_index(IndexRequest(source=source, images=(people,), output=index, **QUICK))
    done = search(index, people, k=1)
    assert all(answer.hits[0].distance < 1e-12 for answer in done.answers)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x", ""])
def test_a_threshold_is_a_distance(text):
    with pytest.raises(ValueError, match="distance"):
        GallerySearchSpec(threshold=text)


def test_a_threshold_says_what_is_not_in_the_gallery(made, people, tmp_path):
    stranger = write_image(tmp_path / "stranger.png", seed=12345)
    done = search(made, people.parent / "ann" / "0.png", stranger, threshold="1e-9")
    assert [answer.in_gallery for answer in done.answers] == [True, False]
    assert done.absent == 1
    assert [hit.match for hit in done.answers[0].hits[:2]] == [True, False]
    assert len(done.answers[1].hits) == 10
    without = search(made, stranger)
    assert (without.absent, without.answers[0].in_gallery) == (None, None)


def test_fewer_images_than_asked_for_are_all_of_them(made, people):
    assert len(search(made, people, k=1000).answers[0].hits) == len(NAMES) * PER_NAME


def test_unreadable_queries_are_an_error_or_left_out(made, people, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        search(made, tmp_path / "bad.png", people)
    request = SearchRequest(
        index=made, queries=(tmp_path / "bad.png", people), on_bad_image="skip", **QUICK
    )
    done = search_index(request)
    assert len(done.answers) == len(NAMES) * PER_NAME
    assert len(done.unreadable) == 1
