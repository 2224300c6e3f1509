"""The frames of a sheet of hits, by what is known of query and image."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

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


def result_of(folder, **fields):
    hit = Hit(rank=1, path="a.png", identity="", camera="", distance=0.1, match=None)
    answer = Answer(query=Path("q.png"), identity="", camera="", hits=(hit,), in_gallery=None)
    usual = {
        "index": Path("g.index"),
        "folder": folder,
        "gallery": 1,
        "answers": (answer,),
        "metric": "cosine",
        "threshold": None,
        "model": "net",
        "device": "cpu",
        "unreadable": (),
        "notes": (),
    }
    return SearchResult(**(usual | fields))


def test_a_sheet_says_what_is_not_plain_about_its_search(tmp_path, monkeypatch):
    written = []
    draw = ImageDraw.ImageDraw.text

    def spy(self, place, text, *arguments, **options):
        written.append((place, text))
        return draw(self, place, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    hit_files.draw_hits(tmp_path / "plain.png", result_of(tmp_path))
    plain = len(written)
    assert not any("approximate" in text or "order" in text for _, text in written)
    written.clear()
    fields = {"recall": 0.973, "recall_at": 10, "reranked": True, "far_from_training": True}
    hit_files.draw_hits(tmp_path / "s.png", result_of(tmp_path, **fields))
    lines = written[3:-4]  # between the head and the captions
    whole = " ".join(text for _, text in lines)
    for words in ("approximate: 97.3 % of the nearest 10 were found", "(--rerank)", "far from"):
        assert words in whole
    assert len(written) > plain + 3  # in lines that the sheet is wide enough for
    with Image.open(tmp_path / "s.png") as wide, Image.open(tmp_path / "plain.png") as other:
        assert wide.width == other.width and wide.height > other.height
        font = ImageFont.load_default(13)
        assert all(x + font.getlength(text) <= wide.width for (x, _), text in lines)
