"""What is told about a data set before it is searched, and what is refused."""

import pytest
from images import write_classes
from retrieval_trees import CSV_ROWS, write_csv, write_market, write_msmt17, write_named, write_veri

from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.data.datasets.retrieval_layout import JUNK_IDENTITY
from covtool.errors import DataError


def judge(root, **settings):
    layout = read_retrieval(root)
    report = report_on(layout, **settings)
    require_searchable(layout, report)
    return report


def brute_force(layout, *, by_camera):
    """Queries with a match, from the definition: pairs of other images."""
    return sum(
        any(
            other.identity == query.identity != JUNK_IDENTITY
            and not (layout.shared and i == j)
            and not (by_camera and other.camera == query.camera)
            for j, other in enumerate(layout.gallery)
        )
        for i, query in enumerate(layout.query)
    )


def test_images_identities_and_cameras_are_counted_by_subset(tmp_path) -> None:
    report = judge(write_market(tmp_path))
    assert [(s.name, s.images, s.identities, s.cameras) for s in report.subsets] == [
        ("train", 4, 2, 2),
        ("query", 2, 2, 2),
        ("gallery", 4, 3, 3),
    ]
    assert (report.junk, report.distractors) == (1, 1)
    assert (report.queries, report.queries_left) == (2, 1)
    assert report.by_camera
    assert judge(tmp_path, cameras=False).queries_left == 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("split", ["test", "query"])
@pytest.mark.parametrize("cameras", [True, False])
def test_queries_that_are_left_have_a_match(seed, split, cameras, tmp_path) -> None:
    import numpy as np

    draw = np.random.default_rng(seed)
    rows = [
        (
            f"{number}.png",
            str(draw.integers(-1, 4)),
            str(draw.integers(2)),
            split if split == "test" or number < 4 else "gallery",
        )
        for number in range(9)
    ]
    layout = read_retrieval(write_csv(tmp_path, rows))
    left = report_on(layout, cameras=cameras).queries_left
    assert left == brute_force(layout, by_camera=cameras)


def test_without_cameras_every_other_image_counts(tmp_path) -> None:
    report = judge(write_classes(tmp_path, {"a": 3, "b": 1}))
    assert [(s.name, s.images, s.identities, s.cameras) for s in report.subsets] == [
        ("test", 4, 2, None)
    ]
    assert not report.by_camera
    assert (report.queries, report.queries_left) == (4, 3)


def test_identities_that_are_trained_and_searched_for_are_named(tmp_path) -> None:
    rows = (*CSV_ROWS, ("a/3.png", "ann", "c2", "gallery"), ("b/3.png", "bob", "c2", "query"))
    with pytest.raises(DataError, match=r"2 identities are in .* images of .*: ann, bob\."):
        judge(write_csv(tmp_path, rows))
    shared = report_on(read_retrieval(tmp_path / "people.csv")).shared_identities
    assert shared == ("ann", "bob")


def test_msmt17_may_use_a_number_for_two_people(tmp_path) -> None:
    report = judge(write_msmt17(tmp_path))
    assert report.shared_identities == ()


def test_no_query_left_is_refused_with_what_to_do(tmp_path) -> None:
    rows = [("1.png", "x", "1", "query"), ("2.png", "x", "1", "gallery")]
    rows.append(("3.png", "z", "2", "gallery"))
    with pytest.raises(DataError, match=r"1 have matches by their own camera(.|\n)*--no-cameras"):
        judge(write_csv(tmp_path, rows))
    assert judge(tmp_path / "people.csv", cameras=False).queries_left == 1
    rows = [("1.png", "x", "1", "query"), ("2.png", "y", "2", "gallery")]
    with pytest.raises(DataError, match="No identity of a query has another image"):
        judge(write_csv(tmp_path, rows))
    with pytest.raises(DataError, match="No identity of a query is in the gallery"):
        judge(tmp_path / "people.csv", cameras=False)


def test_one_image_per_identity_is_refused(tmp_path) -> None:
    root = write_classes(tmp_path, dict.fromkeys("abc", 1))
    with pytest.raises(DataError, match=r"None of the 3 queries .*\nEvery identity has one image"):
        judge(root)


def test_cameras_of_some_images_only_are_refused(tmp_path) -> None:
    rows = [(f"{n}.png", "xxyy"[n], "" if n == 2 else "1", "test") for n in range(4)]
    with pytest.raises(DataError, match=r"1 of 4 images .* have no camera\.\nThe first: .*2\.png"):
        judge(write_csv(tmp_path, rows))
    assert judge(tmp_path / "people.csv", cameras=False).queries_left == 4


@pytest.mark.parametrize("header", ["path,identity,camera,split", "path,identity,camera"])
def test_a_single_identity_is_no_search(header, tmp_path) -> None:
    rows = [(f"{n}.png", "images", str(n), "test") for n in range(3)]
    rows = [row[: header.count(",") + 1] for row in rows]
    with pytest.raises(DataError, match=r"show one identity, 'images'(.|\n)*match is right"):
        judge(write_csv(tmp_path, rows, header))


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_one_half_of_a_search_is_refused(split, tmp_path) -> None:
    rows = [("1.png", "x", "1", "train"), ("2.png", "y", "1", split)]
    missing = {"query": "in: no split called 'gallery'", "gallery": "with: no split called 'query'"}
    with pytest.raises(DataError, match=f"nothing to search {missing[split]}"):
        judge(write_csv(tmp_path, rows))


def test_training_images_alone_are_not_searched(tmp_path) -> None:
    rows = [("1.png", "x", "1", "train")]
    with pytest.raises(DataError, match=r"no split called 'test'\.\nIt has: train\."):
        judge(write_csv(tmp_path, rows))


def test_an_image_that_would_find_itself_is_refused(tmp_path) -> None:
    rows = [("1.png", "x", "", s) for s in ("query", "gallery")] + [("2.png", "x", "", "gallery")]
    with pytest.raises(
        DataError, match=r"1 images of .* are there twice: .*1\.png\.\nIt would fin"
    ):
        judge(write_csv(tmp_path, rows))
    rows = [("1.png", "x", "", "test"), ("1.png", "x", "", "test")]
    with pytest.raises(DataError, match="there twice"):
        judge(write_csv(tmp_path, rows))


def test_queries_of_veri_are_in_its_gallery_and_ruled_out_by_their_camera(tmp_path) -> None:
    assert judge(write_veri(tmp_path)).queries_left == 1
    with pytest.raises(DataError, match="there twice"):
        judge(tmp_path, cameras=False)


def test_junk_is_never_searched_for(tmp_path) -> None:
    write_named(write_market(tmp_path) / "query", "-1_c2s1_000401_03.jpg")
    report = judge(tmp_path)
    assert (report.queries, report.queries_left) == (3, 1)
