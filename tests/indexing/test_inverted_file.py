"""Searches in an inverted file of faiss, against exact ones."""

import shutil
import sys

import pytest
import torch
from indexed_images import NAMES, PER_NAME, QUICK, write_gallery

from covtool.errors import ArgumentError, DataError
from covtool.evaluation.features.files import FeatureWriter
from covtool.indexing import making
from covtool.indexing.building import IndexRequest, build_index
from covtool.indexing.changing import IndexChange, change_index
from covtool.indexing.inverted_file import InvertedFile, build_inverted_file, candidate_count
from covtool.indexing.nearest import exact_nearest, nearest_of
from covtool.indexing.search import SearchRequest, search_index
from covtool.specs.indexing import GallerySearchSpec, IndexSpec

pytest.importorskip("faiss")
FAISS = IndexSpec(faiss=True)


def clustered(count=3000, dimension=16):
    torch.manual_seed(0)
    centers = torch.randn(60, dimension)
    return centers[torch.randint(60, (count,))] + 0.3 * torch.randn(count, dimension)


def search(index, *queries, **spec):
    request = SearchRequest(index=index, queries=queries, spec=GallerySearchSpec(**spec), **QUICK)
    return search_index(request)


@pytest.fixture
def with_file(gallery):
    change_index(IndexChange(index=gallery, spec=FAISS, **QUICK))
    return gallery


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_recall_that_is_said_is_that_of_a_search(metric, tmp_path):
    features = clustered()
    record = build_inverted_file(tmp_path / "g.index", features, metric)
    assert record.recall >= 0.99
    assert record.probed < record.lists
    file = InvertedFile(tmp_path / "g.index", record, features, metric)
    rows = torch.linspace(0, 2999, record.queries, dtype=torch.float64).round().long()
    nearest = exact_nearest(features[rows], features, metric, 10, excluded=rows)
    hits = 0
    for row, wanted in zip(rows.tolist(), nearest, strict=True):
        query = features[row, None]
        places = file.candidates(query, candidate_count(10) + 1)
        found = next(nearest_of(query, features, places, metric, 11)).places.tolist()
        assert found[0] == row
        hits += len(set(found) & set(wanted.tolist()))
    assert hits / nearest.numel() == pytest.approx(record.recall, abs=0.002)


def test_the_same_features_make_the_same_file(tmp_path):
    features = clustered(500)
    first = build_inverted_file(tmp_path / "a.index", features, "cosine")
    second = build_inverted_file(tmp_path / "b.index", features, "cosine")
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_small_galleries_have_one_too_and_print_nothing(tmp_path, count, capfd):
    features = clustered(count)
    record = build_inverted_file(tmp_path / "g.index", features, "cosine")
    file = InvertedFile(tmp_path / "g.index", record, features, "cosine")
    found = file.candidates(features[:1], 50)[0]
    assert sorted(found.tolist()) == list(range(count))
    assert "".join(capfd.readouterr()) == ""


def test_a_search_in_it_is_marked_and_finds_the_same_here(with_file, people):
    exact, other = search(with_file, people, k=5), search(with_file, people, k=5, backend="faiss")
    assert exact.recall is None
    assert (other.recall, other.recall_at) == (1.0, 10)
    assert other.answers == exact.answers


def test_what_is_left_out_is_left_out_there_too(with_file, people):
    for spec in (
        {"cameras": True},
        {"exclude_same": True},
        {"cameras": True, "exclude_same": True},
    ):
        exact, other = search(with_file, people, k=50, **spec), None
        other = search(with_file, people, k=50, backend="faiss", **spec)
        assert other.answers == exact.answers


def test_an_index_without_one_says_how_to_make_it(gallery, people):
    with pytest.raises(ArgumentError, match="has no inverted file") as caught:
        search(gallery, people, backend="faiss")
    assert "--faiss" in caught.value.hint


def test_re_ranking_needs_an_exact_search(with_file, people):
    with pytest.raises(ArgumentError, match="--rerank needs"):
        search(with_file, people, backend="faiss", rerank=True)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another"])
def test_a_damaged_file_is_refused_before_faiss_reads_it(with_file, people, damage):
    path = next(with_file.parent.glob("*.faiss"))
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"x")
    with pytest.raises(DataError, match="inverted file"):
        search(with_file, people, backend="faiss")
    assert search(with_file, people, k=1).answers


def test_without_faiss_the_extra_is_named(gallery, people, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for attempt in (
        lambda: search(gallery, people, backend="faiss"),
        lambda: change_index(IndexChange(index=gallery, spec=FAISS, **QUICK)),
        lambda: build_index(
            IndexRequest(
                source="nowhere.pth",
                images=(people,),
                output=tmp_path / "new.index",
                spec=FAISS,
                **QUICK,
            )
        ),
    ):
        with pytest.raises(ArgumentError, match="needs faiss") as caught:
            attempt()
        assert "covtool[faiss]" in caught.value.hint


def test_it_follows_the_images_and_old_ones_go(with_file, people, tmp_path):
    old = next(tmp_path.glob("*.faiss"))
    more = write_gallery(tmp_path / "more", names=("eve",), count=2)
    change_index(IndexChange(index=with_file, add=(more,), **QUICK))
    (new,) = tmp_path.glob("*.faiss")
    assert new != old
    done = search(with_file, tmp_path / "more" / "eve", k=1, backend="faiss")
    assert all(answer.hits[0].distance < 1e-9 for answer in done.answers)
    assert done.gallery == len(NAMES) * PER_NAME + 2


def test_a_change_that_fails_leaves_the_old_one_in_use(with_file, people, tmp_path, monkeypatch):
    more = write_gallery(tmp_path / "more", names=("eve",), count=2)

    def fails(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FeatureWriter, "_finish", fails)
    with pytest.raises(OSError, match="No space"):
        change_index(IndexChange(index=with_file, add=(more,), **QUICK))
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.faiss"))) == 1
    assert search(with_file, people, k=1, backend="faiss").answers
    change_index(IndexChange(index=with_file, add=(more,), **QUICK))
    assert len(list(tmp_path.glob("*.faiss"))) == 1


def test_files_of_other_names_are_left_alone(with_file, tmp_path):
    others = [
        tmp_path / name for name in ("g.index.faiss", "h.index.0123456789ab.faiss", "x.faiss")
    ]
    for path in others:
        path.write_bytes(b"mine")
    (tmp_path / "g.index.0123456789ab.faiss").write_bytes(b"left by a killed command")
    change_index(IndexChange(index=with_file, spec=FAISS, **QUICK))
    assert all(path.read_bytes() == b"mine" for path in others)
    assert len(list(tmp_path.glob("g.index.*.faiss"))) == 1


def test_a_linked_index_has_its_file_beside_itself(with_file, people, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "here.index").symlink_to(with_file)
    assert search(folder / "here.index", people, k=1, backend="faiss").answers
    change_index(IndexChange(index=folder / "here.index", spec=FAISS, **QUICK))
    assert search(with_file, people, k=1, backend="faiss").answers


def test_an_index_that_moved_takes_its_file_along(with_file, people, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (with_file, next(tmp_path.glob("*.faiss"))):
        shutil.move(path, moved)
    assert search(moved / "g.index", people, k=1, backend="faiss").answers


def test_making_says_nothing_of_faiss_unasked(gallery):
    record = change_index(
        IndexChange(index=gallery, spec=IndexSpec(threshold="auto", false_accept_rate=0.1), **QUICK)
    ).record
    assert record.inverted_file is None
    assert making.build_inverted_file is build_inverted_file
