"""The page of a search, from a data set on disk to a folder to open."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from html_checks import require_sound
from searched_markets import searched_market

from covtool.errors import DataError
from covtool.evaluation.retrieval.metrics import RECALLS, precision_at_recall
from covtool.plotting.retrieval_figures import cmc_curve, roc_figure
from covtool.reporting.retrieval_against import compare_searches
from covtool.reporting.retrieval_page import write_retrieval
from covtool.reporting.retrieval_subject import RetrievalSubject
from covtool.specs import RetrievalSpec


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return searched_market(tmp_path_factory.mktemp("searched"))


def test_page_holds_the_figures_the_queries_and_the_cameras(searched, tmp_path):
    subject = RetrievalSubject(done=searched, model="net", command="covtool evaluate net")
    page = write_retrieval(subject, tmp_path / "page")
    reader = require_sound(page.read_text())
    for name, value in searched.result.figures():
        assert name in reader.text
        assert f"{value:.2f} %" in reader.text
    assert "covtool evaluate net" in reader.text
    assert "1 query has no match and does not count" in reader.text
    assert "too few identities for a range" in reader.text
    assert "resnet" in reader.text  # what the model is made of
    assert len(reader.sources) >= searched.result.queries
    names = sorted(path.name for path in (tmp_path / "page/figures").iterdir())
    assert names == [
        "camera-pairs.svg",
        "cmc.svg",
        "distances.svg",
        "precision-recall.svg",
        "roc.svg",
    ]
    with (tmp_path / "page/tables/queries.csv").open() as file:
        rows = list(csv.DictReader(file))
    precisions = [float(row["AP (%)"]) for row in rows]
    assert precisions == sorted(precisions)
    assert np.mean(precisions) == pytest.approx(searched.result.mean_average_precision)
    first = (tmp_path / "page/tables/first-images.csv").read_text().splitlines()
    assert sum(int(line.split(",")[2]) for line in first[1:]) == searched.result.queries


def test_pairs_of_cameras_have_figures_of_their_own(searched, tmp_path):
    write_retrieval(RetrievalSubject(done=searched, model="net"), tmp_path / "page")
    with (tmp_path / "page/tables/camera-pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    pairs = {(row["query's camera"], row["searched camera"]): row for row in rows}
    scored = RetrievalSubject(done=searched, model="net").scored
    cameras = {searched.layout.query[row].camera for row in scored}
    assert {one for one, _ in pairs} == cameras
    assert not any(one == other for one, other in pairs)  # its own camera's images are ignored
    found, gallery = searched.result.by_camera, searched.layout.gallery
    for (one, other), row in pairs.items():
        column = [gallery[at].camera for at in found.images.tolist()].index(other)
        own = torch.tensor([sample.camera == one for sample in searched.layout.query])
        precisions = found.average_precision[own, column]
        assert int(row["queries"]) == int((~precisions.isnan()).sum())
        assert float(row["mAP (%)"]) == pytest.approx(float(precisions.nanmean()))


def test_two_searches_are_compared_query_by_query(searched, tmp_path):
    first = RetrievalSubject(done=searched, model="runs/a/best.safetensors")
    ranks = [None if rank is None else 3 - min(rank, 2) for rank in searched.result.first_ranks]
    precisions = [None if p is None else 100 - p for p in searched.result.average_precisions]
    result = replace(
        searched.result, first_ranks=tuple(ranks), average_precisions=tuple(precisions)
    )
    second = RetrievalSubject(
        done=replace(searched, result=result), model="runs/b/best.safetensors"
    )
    compared = compare_searches(first, second)
    rows = sorted(first.scored)
    right = [[s.done.result.first_ranks[k] == 1 for k in rows] for s in (first, second)]
    pairs = list(zip(*right, strict=True))
    assert compared.test.only_first == pairs.count((True, False))
    assert compared.test.only_second == pairs.count((False, True)) > 0
    means = [np.mean([s.done.result.average_precisions[k] for k in rows]) for s in (first, second)]
    assert compared.gain[0] == pytest.approx(means[0] - means[1])
    assert compared.names == ("a/best.safetensors", "b/best.safetensors")
    text = require_sound(write_retrieval(first, tmp_path / "page", compared).read_text()).text
    assert "McNemar" in text
    assert "mAP against b/best.safetensors" in text
    assert "nan" not in text
    with (tmp_path / "page/tables/differences.csv").open() as file:
        gains = [abs(float(row["difference"])) for row in csv.DictReader(file)]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == searched.result.queries


def test_a_page_says_how_it_was_searched_and_how_exact_it_is(searched, tmp_path):
    exact = RetrievalSubject(done=searched, model="exact")
    text = require_sound(write_retrieval(exact, tmp_path / "exact").read_text()).text
    assert "in bins" not in text and "embedding" in text
    spec = RetrievalSpec(flip_test=True, feature="pooled", rerank=True, k1=7, k2=3)
    verification = replace(
        searched.result.verification,
        is_exact=False,
        auc_error=0.0123,
        equal_error_bounds=(12.25, 12.75),
    )
    done = replace(searched, spec=spec, result=replace(searched.result, verification=verification))
    subject = RetrievalSubject(done=done, model="rough")
    compared = compare_searches(exact, subject)
    text = require_sound(write_retrieval(subject, tmp_path / "page").read_text()).text
    text = text.replace("\xa0", " ")
    for words in (
        *("pooled, mean with the mirror image", "k-reciprocal, k1 7, k2 3, lambda 0.3"),
        *("in bins: within 0.012 %", "in bins: between 12.25 and 12.75"),
        *("in bins: ROC AUC within 0.012 %", "they were counted in bins"),
    ):
        assert words in text
    text = require_sound(write_retrieval(exact, tmp_path / "both", compared).read_text()).text
    text = text.replace("\xa0", " ")
    assert "rough: in bins: ROC AUC within 0.012 %" in text


def test_ranges_are_around_their_figures(searched):
    subject = RetrievalSubject(done=searched, model="net")
    assert set(subject.ranged) == {"mAP", "rank-1", "rank-5", "rank-10", "rank-20"}
    known = dict(searched.result.figures())
    assert all(figure.value == known[name] for name, figure in subject.ranged.items())
    assert all(figure.ends is None for figure in subject.ranged.values())  # too few identities
    query = tuple(
        sample._replace(identity=f"{k}") for k, sample in enumerate(searched.layout.query * 3)
    )
    result = replace(
        searched.result,
        first_ranks=searched.result.first_ranks * 3,
        average_precisions=searched.result.average_precisions * 3,
    )
    done = replace(searched, result=result, layout=replace(searched.layout, query=query))
    ranged = RetrievalSubject(done=done, model="net").ranged
    low, high = ranged["mAP"].ends
    assert low < ranged["mAP"].value < high


def test_searches_of_other_images_are_not_compared(searched):
    layout = replace(searched.layout, gallery=searched.layout.gallery[::-1])
    other = RetrievalSubject(done=replace(searched, layout=layout), model="other")
    with pytest.raises(DataError, match="did not search for the same images"):
        compare_searches(RetrievalSubject(done=searched, model="net"), other)


def test_first_ranks_and_pairs_are_those_of_the_figures(searched):
    result = searched.result
    assert cmc_curve(result.first_ranks)[0] == pytest.approx(result.rank_1)
    assert cmc_curve(result.first_ranks)[4] == pytest.approx(result.cmc[5])
    assert sum(result.pairs.same) == result.verification.same_pairs
    assert sum(result.pairs.different) == result.verification.different_pairs
    edges = result.pairs.edges
    assert edges[0] <= result.verification.equal_error_threshold <= edges[-1]


def test_precision_at_a_recall_is_the_best_one_from_there_on():
    ranks = torch.tensor([[2, 3, 9, 1]])
    found = precision_at_recall(ranks, torch.tensor([[True, True, True, False]]))
    # Matches at ranks 2, 3 and 9: precisions 1/2, 2/3 and 1/3.
    expected = [2 / 3 if recall <= 2 / 3 else 1 / 3 for recall in RECALLS]
    assert found[0].tolist() == pytest.approx(expected)


def test_a_curve_of_rates_rises_to_its_end(searched):
    (axes,) = roc_figure(searched.result.verification).axes
    x, y = axes.lines[0].get_data()
    assert (x[-1], y[-1]) == (100, 100)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()


def test_a_page_says_what_its_figures_and_frames_mean(searched, tmp_path):
    subject = RetrievalSubject(done=searched, model="net")
    text = require_sound(write_retrieval(subject, tmp_path / "page").read_text()).text
    for words in ("Rank-k is", "mAP is", "mINP is", "EER, the equal", "dashed where it is not"):
        assert words in text
    assert "Recall@k" not in text  # cameras are known
    without = replace(searched.result, has_cameras=False)
    other = RetrievalSubject(done=replace(searched, result=without), model="net")
    text = require_sound(write_retrieval(other, tmp_path / "other").read_text()).text
    assert "Recall@k is" in text and "R-precision is" in text
    assert "mINP" not in text and "Rank-k" not in text


def test_what_holds_for_both_searches_is_said_once(searched, tmp_path):
    first = RetrievalSubject(done=searched, model="a")
    far = replace(searched, far_from_training=True)
    second = RetrievalSubject(done=far, model="b")
    compared = compare_searches(first, second)
    text = require_sound(write_retrieval(first, tmp_path / "page", compared).read_text()).text
    assert text.count("1 query has no match and does not count") == 1
    assert text.count("b: The images are far from those") == 1


def test_a_column_of_cameras_that_nobody_knows_is_in_the_file_alone(searched, tmp_path):
    layout = searched.layout
    blind = tuple(sample._replace(camera=None) for sample in layout.query)
    done = replace(searched, layout=replace(layout, query=blind))
    page = write_retrieval(RetrievalSubject(done=done, model="net"), tmp_path / "page")
    assert ">camera</th>" not in page.read_text()
    assert (tmp_path / "page/tables/queries.csv").read_text().startswith("query,identity,camera,")
