"""The frames of a sheet of hits, by what is known of query and image."""

from pathlib import Path

import pytest

from covtool.evaluation.retrieval.rank_sheet import NEUTRAL, RIGHT, WRONG
from covtool.indexing import hit_files
from covtool.indexing.search import Answer, Hit, SearchResult

FRAMES = {
    "one identity": (("ann", "c1"), ("ann", "c2"), RIGHT),
    "two": (("ann", "c1"), ("bob", "c1"), WRONG),
    "unknown": (("", ""), ("ann", ""), NEUTRAL),
    "junk": (("-1", "c1"), ("-1", "c2"), NEUTRAL),
    "junk beside somebody": (("ann", "c1"), ("-1", "c2"), NEUTRAL),
    "distractors": (("0000", "c1"), ("0000", "c2"), NEUTRAL),
    "a class called 0": (("0", ""), ("0", ""), RIGHT),
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames_judge_only_identities_that_are_known(case, tmp_path, monkeypatch):
    (query, camera), (found, its_camera), color = FRAMES[case]
    hit = Hit(rank=1, path="a.png", identity=found, camera=its_camera, distance=0.1, match=None)
    answer = Answer(
        query=Path("q.png"), identity=query, camera=camera, hits=(hit,), in_gallery=None
    )
    result = SearchResult(
        index=Path("g.index"),
        folder=tmp_path,
        gallery=1,
        answers=(answer,),
        metric="cosine",
        threshold=None,
        model="net",
        device="cpu",
        unreadable=(),
        notes=(),
    )
    drawn = []
    monkeypatch.setattr(hit_files, "save_sheet", lambda path, rows, *_, **__: drawn.extend(rows))
    assert hit_files.draw_hits(tmp_path / "s.png", result, overwrite=False) == 1  # no such file
    assert [image.color for row in drawn for image in row.found] == [color]
