"""`covtool search` as it is typed."""

import csv
import json

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal
from images import write_image
from indexed_images import make_net, write_gallery
from PIL import Image

QUICK = ["-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return make_net(tmp_path_factory.mktemp("net"))


@pytest.fixture
def gallery(covtool, net, tmp_path):
    people = write_gallery(tmp_path / "people")
    told = ("--threshold", "auto", "--false-accept-rate", "0.1")
    code, _, err = covtool("index", net, people, "-o", "g.index", *told, *QUICK)
    assert code == 0, err
    return tmp_path / "g.index"


def test_search_finds_itself_in_a_table(covtool, gallery):
    code, out, err = covtool("search", "g.index", "people/ann/1.png", "-k", "2", *QUICK)
    assert code == 0, err
    said = " ".join(out.replace("│", " ").replace("┃", " ").split())
    assert "people/ann/1.png 1 ann/1.png ann c1 0.0000 yes" in said
    assert "search exact" in said
    assert "not in the gallery 0 of them" in said


def test_rows_of_a_file_are_those_of_json(covtool, gallery, tmp_path):
    told = ("search", "g.index", "people/list.csv", "-k", "3", *QUICK)
    shown = json.loads(covtool(*told, "--json")[1])
    hits = [(a["query"], hit) for a in shown["answers"] for hit in a["hits"]]
    for name in ("hits.csv", "hits.jsonl"):
        code, out, err = covtool(*told, "-o", name)
        assert code == 0, err
        assert "people/ann/1.png" not in out  # the rows are in the file
        assert f"file {name}" in " ".join(out.split())
        with (tmp_path / name).open() as file:
            is_csv = name.endswith(".csv")
            rows = list(csv.DictReader(file)) if is_csv else [json.loads(line) for line in file]
        assert list(rows[0]) == [
            "query", "rank", "path", "identity", "camera", "distance", "similarity", "match",
        ]  # fmt: skip
        assert len(rows) == len(hits) == 60
        for row, (query, hit) in zip(rows, hits, strict=True):
            assert (row["query"], int(row["rank"]), row["path"]) == (
                query,
                hit["rank"],
                hit["path"],
            )
            assert float(row["distance"]) == hit["distance"]
            assert float(row["similarity"]) == 1 - hit["distance"]
            assert row["match"] == (("no", "yes")[hit["match"]] if is_csv else hit["match"])
    assert shown["is_exact"]
    assert shown["not_in_gallery"] == 0


def test_who_is_not_in_the_gallery_is_said(covtool, gallery, tmp_path):
    write_image(tmp_path / "stranger.png", seed=4711)
    told = ("search", "g.index", "stranger.png", "-k", "2", "--threshold", "1e-9", *QUICK)
    code, out, err = covtool(*told, "--sheet", "s.png")
    assert code == 0, err
    assert "not in the gallery 1 of them" in " ".join(out.split())
    assert "The index's own threshold" in err
    code, out, _ = covtool(*told[:-5], "none", *QUICK)
    assert "threshold none" in " ".join(out.split())
    assert "not in the gallery" not in out


def test_a_sheet_shows_queries_and_what_was_found(covtool, gallery, tmp_path):
    code, _, err = covtool("search", "g.index", "people", "-k", "4", "--sheet", "s.png", *QUICK)
    assert code == 0, err
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size[0] > 5 * 132
    (tmp_path / "people" / "ann" / "0.png").unlink()
    told = ("search", "g.index", "people/bob", "-k", "20", "--sheet", "s.png", *QUICK)
    code, _, err = covtool(*told)
    assert (code, "s.png already exists" in err) == (2, True)
    code, _, err = covtool(*told, "--overwrite")
    assert code == 0, err


@pytest.mark.parametrize("rerank", [False, True])
def test_an_order_that_is_not_that_of_the_distances_is_said(covtool, gallery, rerank):
    told = ("search", "g.index", "people/bob", "-k", "2", *(["--rerank"] * rerank), *QUICK)
    code, out, err = covtool(*told)
    assert code == 0, err
    assert ("distance cosine, re-ranked" in " ".join(out.split())) == rerank
    assert json.loads(covtool(*told, "--json")[1])["reranked"] is rerank


def test_an_inverted_file_is_an_approximation_and_says_so(covtool, gallery):
    assert covtool("index", "g.index", "--faiss", *QUICK)[0] == 0
    told = ("search", "g.index", "people/ann/1.png", "--backend", "faiss", *QUICK)
    code, out, err = covtool(*told)
    assert code == 0, err
    assert "APPROXIMATE: 100.0 % of the nearest 10 were found" in out
    assert json.loads(covtool(*told, "--json")[1])["is_exact"] is False


def test_another_model_is_refused(covtool, gallery, tmp_path):
    make_net(tmp_path / "other", seed=1)
    told = ("search", "g.index", "people", "--model", "other/net.safetensors", *QUICK)
    code, out, err = covtool(*told)
    assert (code, out) == (3, "")
    assert "is not the model of g.index" in err
    assert err.count("fingerprint") == 1


MISTAKES = {
    "another suffix": (["g.index", "people", "-o", "hits.xlsx"], 2, "must end in one of .csv"),
    "not a picture": (["g.index", "people", "--sheet", "hits.jpg"], 2, "must end in .png"),
    "no folder": (["g.index", "people", "-o", "nowhere/x.csv"], 2, "There is no folder nowhere"),
    "no index": (["{net}", "people"], 4, "is not an index"),
    "no such index": (["nowhere.index", "people"], 4, "There is no index nowhere.index"),
    "no such query": (["g.index", "nobody.png"], 4, "There is no nobody.png"),
    "no threshold": (["g.index", "people", "--threshold", "x"], 2, "--threshold 'x'"),
    "no images asked for": (["g.index", "people", "-k", "0"], 2, "--k 0"),
    "no file of faiss": (["g.index", "people", "--backend", "faiss"], 2, "has no inverted file"),
    "no cameras": (["g.index", "people/ann/0.png", "--cameras"], 4, "the camera is unknown"),
    "little memory": (["g.index", "people", "--max-memory", "1MB"], 2, "--max-memory allows"),
    "no memory": (["g.index", "people", "--max-memory", "x"], 2, "--max-memory"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_and_nothing_is_written(covtool, gallery, net, tmp_path, mistake):
    arguments, expected, message = MISTAKES[mistake]
    code, out, err = covtool("search", *(a.format(net=net) for a in arguments), *QUICK)
    assert (code, out) == (expected, ""), err
    assert message in err
    assert {path.name for path in tmp_path.iterdir()} == {"g.index", "people"}


@pytest.mark.parametrize("kind", ["turns around", "starts a line"])
def test_names_of_files_do_not_act_on_the_terminal(covtool, net, tmp_path, kind):
    listed = "path,identity\na.png,{0}\nb.png,{0}\n".format('"' + HOSTILE[kind] + '"')
    (tmp_path / "list.csv").write_text(listed, encoding="utf-8")
    for number, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.png", seed=number)
    code, _, err = covtool("index", net, "list.csv", "-o", "h.index", *QUICK)
    if code:  # a list may be refused for such a name
        assert not acts_on_a_terminal(err)
        return
    code, out, err = covtool("search", "h.index", "a.png", "--sheet", "s.png", *QUICK)
    assert code == 0, err
    assert not acts_on_a_terminal(out.replace("\n", ""))
