"""A model and a data set become figures of a search."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from images import truncate, write_classes, write_image
from process_group import run_together
from retrieval_models import write_model
from retrieval_trees import write_csv, write_market, write_msmt17, write_veri

from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.errors import ArgumentError, DataError, OutputExistsError
from covtool.evaluation.features.files import read_features, write_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels
from covtool.evaluation.retrieval.exact_search import ExactSearch
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.reranking import RerankedSearch
from covtool.evaluation.retrieval.search import (
    image_label,
    plan_search,
    read_search_features,
    relevance_of,
    search,
    search_labels,
)
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.specs import LaunchSpec, RetrievalSpec


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Five queries and a gallery of fourteen, by three cameras."""
    root = tmp_path_factory.mktemp("market")
    write_market(root)
    for person in range(4, 7):
        write_image(root / "query" / f"000{person}_c1s1_000001_00.jpg", seed=person)
        for camera in (1, 2, 3):
            name = f"000{person}_c{camera}s1_000002_00.jpg"
            write_image(root / "bounding_box_test" / name, seed=10 * person + camera)
    return root


@pytest.fixture
def ask(source, market):
    def request(data=market, **settings):
        spec = {
            name: settings.pop(name)
            for name in list(settings)
            if name in RetrievalSpec.model_fields
        }
        usual = {"source": source, "workers": 0, "device": "cpu", "batch_size": 4}
        return RetrievalRequest(data=data, spec=RetrievalSpec(**spec), **{**usual, **settings})

    return request


def rank_1_by_numpy(table):
    """Rank-1 from the definition, by cosines in float64, of a file that `retrieve` wrote."""
    values = table.features.double().numpy()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    hits = []
    for place, query in enumerate(table.labels):
        if query.split == "gallery":
            continue
        ranked = [
            (-values[place] @ values[other], other)
            for other, item in enumerate(table.labels)
            if other != place and item.split != "query" and item.identity != "-1"
            if not (item.identity == query.identity and item.camera == query.camera != "")
        ]
        best = [table.labels[other] for _, other in sorted(ranked)]
        if any(item.identity == query.identity for item in best):
            hits.append(best[0].identity == query.identity)
    return 100 * np.mean(hits)


def test_figures_are_those_of_the_features_that_are_written(ask, tmp_path):
    done = retrieve(ask(save_features=tmp_path / "a.npz"))
    table = read_features(tmp_path / "a.npz")
    assert done.result.rank_1 == pytest.approx(rank_1_by_numpy(table))
    assert (done.result.queries, done.result.left_out, done.result.gallery) == (4, 1, 12)
    assert (done.report.queries_left, done.report.queries) == (4, 5)
    assert done.num_features == table.features.shape[1]
    assert done.files == (tmp_path / "a.npz",)
    assert table.labels[0] == ImageLabels("query/0001_c1s1_000001_00.jpg", "0001", "1", "query")
    assert [label.split for label in table.labels] == ["query"] * 5 + ["gallery"] * 13


@pytest.mark.parametrize("shape", ["veri", "msmt17", "csv", "folders"])
def test_every_form_is_searched(shape, ask, tmp_path):
    write = {
        "veri": write_veri,
        "msmt17": write_msmt17,
        "csv": write_csv,
        "folders": lambda root: write_classes(root, {"a": 2, "b": 3}),
    }[shape]
    done = retrieve(ask(write(tmp_path / "data"), save_features=tmp_path / "a.npz"))
    assert done.result.rank_1 == pytest.approx(rank_1_by_numpy(read_features(tmp_path / "a.npz")))
    assert done.result.queries == done.report.queries_left


def test_features_from_a_file_give_the_same_figures(ask, tmp_path):
    file = tmp_path / "a.safetensors"
    first = retrieve(ask(save_features=file, flip_test=True)).result
    again = retrieve(ask(source=None, distances_from=file))
    assert again.result.figures() == first.figures()
    assert again.result.average_precisions == first.average_precisions
    assert (again.device, again.input) == (None, None)


def test_what_counts_can_be_chosen(ask):
    with_cameras, without = (retrieve(ask(cameras=cameras)) for cameras in (True, False))
    assert (with_cameras.result.queries, without.result.queries) == (4, 5)
    assert without.result.figures()[0][0] == "Recall@1"
    assert not without.report.by_camera


def test_a_split_is_searched_in_itself(ask):
    done = retrieve(ask(split="train"))
    assert done.result.queries == done.result.gallery == 4
    assert [subset.name for subset in done.report.subsets] == ["test"]
    with pytest.raises(DataError, match="no split called 'dev'"):
        retrieve(ask(split="dev"))


def test_the_report_comes_before_the_model_is_looked_at(ask):
    reports = []
    with pytest.raises(Exception, match="nowhere"):
        retrieve(ask(source="nowhere/net.pth"), on_report=reports.append)
    assert reports[0].queries == 5


def test_images_are_found_in_a_file_by_their_paths(market, ask, tmp_path):
    layout = read_retrieval(market)
    labels = search_labels(layout)
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    shuffled = FeatureTable(
        features=torch.cat([features[order], torch.zeros(1, 4)]),
        labels=(*(labels[i] for i in order), ImageLabels("another.jpg")),
    )
    file = write_features(tmp_path / "a.npz", shuffled)
    assert torch.equal(read_search_features(layout, file), features)
    expected = search(features, relevance_of(layout), RetrievalSpec()).figures()
    assert retrieve(ask(source=None, distances_from=file)).result.figures() == expected


def test_without_paths_they_are_taken_in_order(market, tmp_path):
    layout = read_retrieval(market)
    features = torch.randn(len(layout.searched), 4)
    bare = FeatureTable(features=features, labels=(ImageLabels(),) * len(features))
    assert torch.equal(
        read_search_features(layout, write_features(tmp_path / "a.npz", bare)), features
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([ImageLabels()] * 3, r"features of 3 images, but .* has 18"),
        ([ImageLabels("query/0001_c1s1_000001_00.jpg")], r"no features of 17 of the 18 images"),
    ],
)
def test_features_of_other_images_are_refused(labels, message, ask, tmp_path):
    table = FeatureTable(features=torch.ones(len(labels), 2), labels=tuple(labels))
    file = write_features(tmp_path / "a.npz", table)
    with pytest.raises(DataError, match=message):
        retrieve(ask(source=None, distances_from=file))


def test_rows_that_say_that_they_are_in_another_order_are_refused(market, tmp_path):
    layout = read_retrieval(market)
    for name in ("identity", "camera", "split"):
        labels = [
            ImageLabels()._replace(**{name: getattr(label, name)})
            for label in search_labels(layout)
        ]
        features = torch.ones(len(labels), 2)
        table = FeatureTable(features=features, labels=tuple(labels))
        read_search_features(layout, write_features(tmp_path / f"{name}.npz", table))
        table = FeatureTable(features=features, labels=tuple(reversed(labels)))
        with pytest.raises(DataError, match=f"Row 1 of .* is of {name}"):
            read_search_features(layout, write_features(tmp_path / f"{name}2.npz", table))


def test_an_image_that_is_named_twice_is_refused(market, tmp_path):
    layout = read_retrieval(market)
    labels = search_labels(layout)
    table = FeatureTable(features=torch.ones(len(labels) + 1, 2), labels=(*labels, labels[0]))
    with pytest.raises(DataError, match="names 1 images twice"):
        read_search_features(layout, write_features(tmp_path / "a.npz", table))


def test_features_come_from_one_source(ask, tmp_path):
    with pytest.raises(ArgumentError, match=r"net\.safetensors would not be used"):
        retrieve(ask(distances_from=tmp_path / "a.npz"))
    with pytest.raises(ArgumentError, match="neither a model nor a file"):
        retrieve(ask(source=None))


def test_mixed_precision_without_a_model_is_refused(ask, tmp_path):
    with pytest.raises(ArgumentError, match="--amp would have no effect"):
        retrieve(ask(source=None, distances_from=tmp_path / "a.npz", amp=True))


def test_nothing_is_written_where_something_is_wrong(ask, tmp_path):
    file = tmp_path / "a.npz"
    with pytest.raises(DataError, match="None of the 3 queries"):
        data = write_classes(tmp_path / "single", dict.fromkeys("abc", 1))
        retrieve(ask(data, save_features=file))
    assert not file.exists()
    file.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        retrieve(ask(save_features=file))
    assert file.read_bytes() == b"mine"
    retrieve(ask(save_features=file, overwrite=True))
    assert len(read_features(file).labels) == 18
    with pytest.raises(ArgumentError, match=r"\.safetensors, \.npz, \.csv"):
        retrieve(ask(save_features=tmp_path / "a.pth"))


def test_unreadable_images_are_an_error_or_left_out_of_the_search(ask, tmp_path):
    file = write_csv(tmp_path)
    bad = truncate(tmp_path / "d/2.png")
    with pytest.raises(DataError, match="1 of 5 images cannot be read"):
        retrieve(ask(file))
    done = retrieve(ask(file, on_bad_image="skip"))
    assert [path for path, _ in done.unreadable] == [bad]
    assert (done.result.gallery, done.report.subsets[-1].images) == (2, 2)
    truncate(tmp_path / "c/2.png")
    with pytest.raises(DataError, match="None of the 2 queries"):
        retrieve(ask(file, on_bad_image="skip"))


def test_paths_are_told_relative_to_the_data(tmp_path):
    label = image_label(RetrievalSample(tmp_path / "a/1.png", "x"), "test", tmp_path)
    assert label == ImageLabels("a/1.png", "x", "", "test")


def retrieved(rank, request):
    done = retrieve(request)
    return done.result.figures(), done.result.average_precisions, done.report, done.num_features


def test_several_processes_find_what_one_finds(ask, tmp_path):
    request = ask(save_features=tmp_path / "a.csv", launch=LaunchSpec(dist_timeout=60))
    alone = retrieved(0, replace(request, spec=RetrievalSpec()))
    for outcome in run_together(retrieved, request, world=3):
        assert outcome == alone
    assert len(read_features(tmp_path / "a.csv").labels) == 18


def test_an_error_of_the_search_is_everybodys(ask):
    request = ask(max_memory="1B", launch=LaunchSpec(dist_timeout=60))
    for problem in run_together(retrieved, request):
        assert isinstance(problem, ArgumentError)
        assert "--max-memory allows 1 B" in problem.message


@pytest.mark.parametrize("rerank", [False, True])
def test_too_little_memory_is_told_before_an_image_is_described(rerank, ask):
    shown = []

    def track(iterable, description, total):
        shown.append(description)
        return iter(iterable)

    with pytest.raises(ArgumentError, match=r"needs .*, but --max-memory allows 1\.0 kB"):
        retrieve(ask(max_memory="1kB", rerank=rerank), track=track)
    assert shown == ["checking images"]


@pytest.mark.parametrize("rerank", [False, True])
def test_the_plan_is_that_of_the_search(rerank, market, monkeypatch):
    layout = read_retrieval(market)
    spec = RetrievalSpec(rerank=rerank, k1=3, k2=2) if rerank else RetrievalSpec()
    relevance = relevance_of(layout)
    planned = plan_search(relevance, 96, spec)
    kept = []
    kind = RerankedSearch if rerank else ExactSearch
    monkeypatch.setattr(kind, "compare", _keeping(kind.compare, kept))
    search(torch.randn(len(layout.searched), 96), relevance, spec)
    assert {found.plan for found in kept} == {planned}


def test_relevance_is_found_once(ask, monkeypatch):
    made, build = [], Relevance.__init__

    def count(self, *labels):
        made.append(self)
        build(self, *labels)

    monkeypatch.setattr(Relevance, "__init__", count)
    retrieve(ask(rerank=True, k1=3, k2=2))
    assert len(made) == 1


def _keeping(compare, kept):
    def keep(self, queries):
        kept.append(self)
        return compare(self, queries)

    return keep
