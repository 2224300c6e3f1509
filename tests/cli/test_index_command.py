"""`covtool index` as it is typed."""

import json

import pytest
from indexed_images import make_net, write_gallery
from retrieval_trees import write_market

from covtool.evaluation.features.files import read_features

QUICK = ["-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return make_net(tmp_path_factory.mktemp("net"))


@pytest.fixture
def people(tmp_path):
    return write_gallery(tmp_path / "people")


@pytest.fixture
def gallery(covtool, net, people, tmp_path):
    code, _, err = covtool("index", net, people, "-o", "g.index", *QUICK)
    assert code == 0, err
    return tmp_path / "g.index"


def test_it_says_what_was_written(covtool, net, people):
    code, out, err = covtool("index", net, people, "-o", "g.index", *QUICK)
    assert code == 0, err
    said = " ".join(out.split())
    for text in ("images 20", "cosine", "threshold none", "people", "file g.index"):
        assert text in said


def test_json_is_one_object(covtool, net, people):
    told = ("--threshold", "auto", "--false-accept-rate", "0.1", "--json", "--faiss")
    code, out, err = covtool("index", net, people, "-o", "g.index", *told, *QUICK)
    assert code == 0, err
    shown = json.loads(out)
    assert (shown["images"], shown["added"], shown["num_features"] > 0) == (20, 20, True)
    assert shown["record"]["threshold"]["false_accept_rate"] == 0.1
    assert shown["record"]["inverted_file"]["recall"] == 1.0
    assert "note: The threshold was chosen on images of the gallery itself" in err


def test_images_are_added_and_removed(covtool, gallery, tmp_path):
    write_gallery(tmp_path / "more", names=("eve",), count=2)
    code, out, err = covtool("index", "g.index", "more/list.csv", "--add", *QUICK)
    assert code == 0, err
    assert "images 22 added 2" in " ".join(out.split())
    code, out, err = covtool("index", "g.index", "more/eve/0.png", "people/bob", "--remove")
    assert code == 0, err
    assert "images 16 added 0 removed 6" in " ".join(out.split())
    code, _, err = covtool("index", "g.index", "more/list.csv", "--add", *QUICK)
    assert (code, "1 image of 2 images is in g.index already" in err) == (4, True)
    assert covtool("index", "g.index", "more", "--add", "--overwrite", *QUICK)[0] == 0
    assert len(read_features(gallery).labels) == 17


def test_a_threshold_is_chosen_later(covtool, gallery):
    code, out, err = covtool("index", "g.index", "--threshold", "auto", "--false-accept-rate", ".1")
    assert code == 0, err
    assert "10 % of 150 pairs" in out


MISTAKES = {
    "no name": (["{net}", "people"], 2, "There is no name for the index"),
    "another suffix": (["{net}", "people", "-o", "g.onnx"], 2, "not the name of an index"),
    "nothing to do": (["g.index", "people"], 2, "is an index, not a model"),
    "no images": (["{net}", "-o", "x.index"], 2, "There are no images"),
    "nothing to add": (["g.index", "--add"], 2, "--add needs images"),
    "both": (["g.index", "people", "--add", "--remove"], 2, "do not go together"),
    "a model to change": (["{net}", "people", "--add"], 2, "--add changes an index"),
    "another place": (["g.index", "people", "--add", "-o", "x.index"], 2, "--output has no effect"),
    "its own size": (["g.index", "people", "--add", "--img-size", "64"], 2, "--img-size has no"),
    "a model twice": (["{net}", "people", "-o", "x.index", "--model", "m"], 2, "--model is for"),
    "a bad size": (["{net}", "people", "-o", "x.index", "--img-size", "0"], 2, "--img-size"),
    "a bad rate": (
        ["{net}", "people", "-o", "x.index", "--threshold", "auto", "--false-accept-rate", "2"],
        2,
        "--false-accept-rate",
    ),
    "too small a rate": (
        ["{net}", "people", "-o", "x.index", "--threshold", "auto", "--false-accept-rate", "1e-6"],
        4,
        "there are 150 pairs of two identities",
    ),
    "no such model": (["nowhere.pth", "people", "-o", "x.index"], 3, "nowhere.pth"),
    "no such images": (["{net}", "nowhere", "-o", "x.index"], 4, "There is no nowhere"),
    "no such index": (["nowhere.index", "people", "--add"], 4, "There is no index nowhere.index"),
    "it is there": (["{net}", "people", "-o", "g.index"], 2, "already exists"),
    "nobody": (["g.index", "nobody", "--remove"], 4, "has no image nobody"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_and_nothing_is_written(covtool, gallery, net, tmp_path, mistake):
    arguments, expected, message = MISTAKES[mistake]
    before = gallery.read_bytes()
    code, out, err = covtool("index", *(a.format(net=net) for a in arguments))
    assert (code, out) == (expected, ""), err
    assert message in err
    assert gallery.read_bytes() == before
    assert not (tmp_path / "x.index").exists()


def test_it_works_alone(covtool, net, people, monkeypatch):
    group = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**group, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    code, _, err = covtool("index", net, people, "-o", "g.index", *QUICK)
    assert (code, "by one process" in err) == (2, True)


def test_evaluation_takes_an_index(covtool, net, tmp_path):
    write_market(tmp_path / "market")
    parts = ("market/query", "market/bounding_box_test")
    code, _, err = covtool("index", net, *parts, "-o", "g.index", *QUICK)
    assert code == 0, err
    code, out, err = covtool("evaluate", "--data", "market", "--distances-from", "g.index")
    assert code == 0, err
    assert "features from g.index" in out
