"""The sheet of queries and matches, read back pixel by pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_texts import HOSTILE, acts_on_a_terminal
from images import write_image
from PIL import Image, ImageDraw

from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.errors import SaveError
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.features.files import write_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels
from covtool.evaluation.retrieval.rank_sheet import (
    NEUTRAL,
    RIGHT,
    WRONG,
    save_ranks,
    select_queries,
)
from covtool.specs import RetrievalSpec

FRAMES = {"right": RIGHT, "wrong": WRONG, "query": NEUTRAL}


def samples(folder, identities, cameras=None):
    return [
        RetrievalSample(write_image(folder / f"{place}.png", seed=place), identity, camera)
        for place, (identity, camera) in enumerate(
            zip(identities, cameras or [None] * len(identities), strict=True)
        )
    ]


def searched(identities, *, keep, cameras=None):
    """Images in a row, one unit apart: the nearest are the neighbors in the list."""
    found = FeatureSet(
        features=torch.arange(float(len(identities)))[:, None] * torch.ones(1, 3) + 1,
        identities=torch.tensor([int(identity) for identity in identities]),
        cameras=cameras,
    )
    return evaluate_retrieval(found, spec=RetrievalSpec(metric="euclidean"), keep=keep)


def runs_of_frames(path):
    """For each color of a frame, how many upper edges of frames there are on the sheet."""
    pixels = np.asarray(Image.open(path))
    counts = {}
    for name, color in FRAMES.items():
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        hit = (pixels == rgb).all(axis=2)
        upper = hit & ~np.roll(hit, 1, axis=0)  # the first line of each frame, or below an image
        lines = ["".join("x" if pixel else " " for pixel in row) for row in upper]
        lengths = [len(run) for line in lines for run in line.split()]
        counts[name] = sum(length > 60 for length in lengths)  # longer than a mark of the legend
    return counts


def test_right_ones_are_green_wrong_ones_red_and_queries_neutral(tmp_path):
    identities = ["1", "1", "2", "2", "1"]
    result = searched(identities, keep=4)
    images = samples(tmp_path, identities)
    path = save_ranks(tmp_path / "ranks.png", result, images, images, title="five")
    right = sum(
        identities[match] == identities[row]
        for row, matches in enumerate(result.matches.tolist())
        for match in matches
    )
    counts = runs_of_frames(path)
    # An upper edge, and the lower edge below the image, of each frame.
    assert counts == {"right": 2 * right, "wrong": 2 * (20 - right), "query": 2 * 5}


def test_places_without_a_match_stay_empty_and_left_out_queries_are_not_shown(tmp_path):
    identities = ["1", "1", "2"]
    result = searched(identities, keep=10)
    images = samples(tmp_path, identities)
    counts = runs_of_frames(save_ranks(tmp_path / "ranks.png", result, images, images))
    assert counts == {"right": 2 * 2, "wrong": 2 * 2, "query": 2 * 2}


def test_queries_are_spread_over_all_that_count():
    identities = ["1"] * 5 + ["2"] + ["3"] * 30
    result = searched(identities, keep=1)
    chosen = select_queries(result, 10)
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, 35, 10)
    assert 5 not in chosen  # alone with its identity
    assert select_queries(result, 100) == [row for row in range(36) if row != 5]


def test_the_same_search_makes_the_same_file(tmp_path):
    identities = ["1", "1", "2", "2"]
    result, images = searched(identities, keep=3), samples(tmp_path, identities, ["a", "b"] * 2)
    first = save_ranks(tmp_path / "a.png", result, images, images).read_bytes()
    assert save_ranks(tmp_path / "b.png", result, images, images).read_bytes() == first
    without = samples(tmp_path, identities)
    assert save_ranks(tmp_path / "b.png", result, without, without).read_bytes() != first


@pytest.mark.parametrize("size", [(8, 90), (90, 8), (300, 300), (1, 1)])
def test_images_of_all_shapes_keep_them(tmp_path, size):
    identities = ["a name that is much too long to stand below an image"] * 3
    images = [
        RetrievalSample(write_image(tmp_path / f"{place}.png", size=size), identity)
        for place, identity in enumerate(identities)
    ]
    result = searched(["1"] * 3, keep=2)
    with Image.open(save_ranks(tmp_path / "ranks.png", result, images, images)) as sheet:
        assert min(sheet.size) > 200


def test_images_that_cannot_be_read_are_left_gray(tmp_path):
    identities = ["1", "1", "2"]
    images = samples(tmp_path, identities)
    gone = [images[0], RetrievalSample(tmp_path / "nowhere.png", "1"), images[2]]
    result = searched(identities, keep=2)
    counts = runs_of_frames(save_ranks(tmp_path / "ranks.png", result, gone, gone))
    assert counts["right"] == 2 * 2


def test_a_disk_that_is_full_is_told_and_nothing_is_left_behind(tmp_path, monkeypatch):
    images = samples(tmp_path, ["1", "1"])
    result = searched(["1", "1"], keep=1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SaveError, match="No space left on device"):
        save_ranks(tmp_path / "ranks.png", result, images, images)
    assert {path.name for path in tmp_path.iterdir()} == {"0.png", "1.png"}


def test_the_command_draws_a_sheet_of_features_from_elsewhere(covtool, tmp_path):
    rows, labels = [], []
    for place, (identity, split) in enumerate(
        [("a", "query"), ("b", "query"), ("a", "gallery"), ("b", "gallery"), ("c", "gallery")]
    ):
        path = write_image(tmp_path / "images" / f"{place}.png", seed=place)
        rows.append(f"{Path('images') / path.name},{identity},{split}")
        labels.append(ImageLabels(f"images/{path.name}", identity, "", split))
    (tmp_path / "data.csv").write_text("\n".join(["path,identity,split", *rows]) + "\n")
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [0.9, 0.8], [0.1, 1]])
    write_features(tmp_path / "f.npz", FeatureTable(features=features, labels=tuple(labels)))
    told = ["evaluate", "--data", "data.csv", "--distances-from", "f.npz"]
    told += ["--save-ranks", "ranks.png"]
    code, _, err = covtool(*told)
    assert code == 0, err
    assert runs_of_frames(tmp_path / "ranks.png") == {"right": 4, "wrong": 8, "query": 4}
    code, _, err = covtool(*told)
    assert (code, "ranks.png already exists" in err) == (2, True)
    assert covtool(*told, "--overwrite")[0] == 0
    assert covtool(*told[:-1], "nowhere/ranks.png")[0] == 2


def test_a_sheet_says_that_its_rankings_are_reranked(covtool, tmp_path, monkeypatch):
    written = []
    draw = ImageDraw.ImageDraw.text

    def spy(self, place, caption, *arguments, **options):
        written.append(caption)
        return draw(self, place, caption, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    rows, labels = ["path,identity"], []
    for place in range(12):
        path = write_image(tmp_path / "images" / f"{place}.png", seed=place)
        rows.append(f"images/{path.name},{place % 3}")
        labels.append(ImageLabels(f"images/{path.name}", str(place % 3), "", ""))
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    write_features(
        tmp_path / "f.npz", FeatureTable(features=torch.randn(12, 4), labels=tuple(labels))
    )
    told = ("evaluate", "--data", "data.csv", "--distances-from", "f.npz", "--overwrite")
    told += ("--save-ranks", "ranks.png")
    words = "Ranked by cosine distance, then re-ranked (k1 5, k2 2, lambda 0.3)."
    code, _, err = covtool(*told)
    assert code == 0, err
    assert words not in written
    code, out, err = covtool(*told, "--rerank", "--k1", "5", "--k2", "2")
    assert code == 0, err
    assert words in written
    assert "cosine, re-ranked (k1 5, k2 2, lambda 0.3)" in " ".join(out.split())
    shown = json.loads(covtool(*told, "--rerank", "--json")[1])
    assert shown["reranking"] == {"k1": 20, "k2": 6, "lambda": 0.3}
    assert json.loads(covtool(*told, "--json")[1])["reranking"] is None


@pytest.mark.parametrize(
    "kind", ["starts a line", "turns around", "is half a character", "is long"]
)
def test_a_caption_is_one_line_of_printable_text(tmp_path, monkeypatch, kind):
    text, written = HOSTILE[kind], []
    draw = ImageDraw.ImageDraw.text

    def spy(self, place, caption, *arguments, **options):
        written.append(caption)
        return draw(self, place, caption, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    images = [s._replace(identity=text) for s in samples(tmp_path, ["1", "1"])]
    save_ranks(tmp_path / "a.png", searched(["1", "1"], keep=1), images, images, title=text)
    assert not any(acts_on_a_terminal(caption) or "\n" in caption for caption in written)
