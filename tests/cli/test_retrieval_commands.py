import csv
import json
import os
import subprocess
import sys

import pytest
from images import truncate, write_classes
from retrieval_models import write_model
from retrieval_trees import CSV_ROWS, write_csv, write_market

from covtool.evaluation.features.files import read_features

QUICK = ["-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("people"))


def test_data_for_retrieval_is_searched(covtool, net, people):
    code, out, err = covtool("evaluate", net, "--data", people, *QUICK)
    assert code == 0, err
    assert "train: 4 images, 2 identities, 2 cameras" in err
    assert "1 of 2 queries have another camera's image of their identity to find" in err
    for text in ("rank-1", "rank-20", "mAP", "mINP", "without a match 1", "cosine"):
        assert text in " ".join(out.split())
    code, out, err = covtool("evaluate", net, "--data", people, "--no-cameras", *QUICK)
    assert code == 0
    assert "2 of 2 queries have another image of their identity to find" in err
    for text in ("Recall@1", "R-precision", "mAP@R"):
        assert text in out


def test_json_is_one_object_with_figures_and_report(covtool, net, people):
    code, out, _ = covtool("evaluate", net, "--data", people, "--flip-test", "--json", *QUICK)
    assert code == 0
    shown = json.loads(out)
    assert shown["task"] == "retrieval"
    assert list(shown["figures"]) == ["rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"]
    assert (shown["queries"], shown["left_out"], shown["gallery"]) == (1, 1, 3)
    assert shown["report"]["queries_left"] == 1
    assert shown["planned_bytes"] > 0
    assert shown["spec"]["flip_test"]
    assert shown["average_precisions"][1] is None
    assert shown["first_ranks"][1] is None
    assert len(shown["query_paths"]) == 2


def test_two_models_are_compared_by_their_searches(covtool, net, people, tmp_path):
    told = ("evaluate", net, "--data", people, "--report", "page", "--against", net, *QUICK)
    code, _, err = covtool(*told)
    assert code == 0, err
    assert "mAP +0.00 points against" in err
    assert "(95 %: too few identities for a range)" in " ".join(err.split())
    assert "Against " in (tmp_path / "page/index.html").read_text()
    shown = json.loads(covtool(*told, "--overwrite", "--json")[1])
    against = shown["against"]
    assert (against["model"], against["figures"]) == (str(net), shown["figures"])
    assert against["gain"] == {"figure": "mAP", "points": 0, "low": None, "high": None}
    assert against["mcnemar"] == {"only_first": 0, "only_second": 0, "p_value": 1}
    assert "1 query has no match and does not count." in against["notes"]
    assert shown["ranges"] == dict.fromkeys(("mAP", "rank-1", "rank-5", "rank-10", "rank-20"))
    told = ("evaluate", net, "--data", people, "--against", net, *QUICK)  # and without a page
    assert json.loads(covtool(*told, "--json")[1])["against"] == against
    code, _, err = covtool(*told)
    assert (code, "mAP +0.00 points against" in err, "report:" in err) == (0, True, False)


def test_features_are_saved_and_searched_without_a_model(covtool, net, people, tmp_path):
    told = ("evaluate", net, "--data", people, "--save-features", "f.npz", "--json", *QUICK)
    first = json.loads(covtool(*told)[1])
    assert len(read_features(tmp_path / "f.npz").labels) == 5
    code, _, err = covtool(*told)
    assert (code, "f.npz already exists" in err) == (2, True)
    assert covtool(*told, "--overwrite")[0] == 0
    code, out, _ = covtool("evaluate", "--data", people, "--distances-from", "f.npz", "--json")
    assert code == 0
    assert json.loads(out)["figures"] == first["figures"]
    code, _, err = covtool("evaluate", net, "--data", people, "--distances-from", "f.npz")
    assert (code, "would not be used" in err) == (2, True)


def test_class_folders_are_searched_where_that_is_asked_for(covtool, net, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 2, "b": 2, "c": 2, "d": 3})
    told = ("evaluate", net, "--data", data, "--json", *QUICK)
    shown = json.loads(covtool(*told, "--task", "retrieval")[1])
    assert (shown["task"], shown["queries"]) == ("retrieval", 9)
    shown = json.loads(covtool(*told, "--task", "retrieval", "--test-classes", "0.5")[1])
    assert shown["queries"] == 5
    code, _, err = covtool(*told, "--test-classes", "0.5")
    assert (code, "--test-classes is for retrieval, but" in err) == (2, True)
    assert "Add --task retrieval" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--per-class", "--per-class is for classification, but"),
        ("--attack pgd --eps 4/255", "--attack is for classification, but"),
        ("--task classification --lambda 0.2 --rerank", "--rerank is for retrieval, but --task is"),
        ("--k1 10", "--k1 has no effect without --rerank"),
        ("--max-memory much", "--max-memory 'much' is not valid"),
        ("--max-memory 1B", "--max-memory allows 1 B"),
        ("--save-features f.pth", ".safetensors, .npz, .csv"),
        ("--metric manhattan", "--metric"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options, message, covtool, net, people):
    code, out, err = covtool("evaluate", net, "--data", people, *options.split(), *QUICK)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_model_is_missing_only_where_one_is_needed(covtool, people, tmp_path):
    code, _, err = covtool("evaluate", "--data", people)
    assert (code, "MODEL is missing" in err) == (2, True)
    code, _, err = covtool("evaluate", "--data", people, "--distances-from", "nowhere.npz")
    assert (code, "There is no file nowhere.npz" in err) == (4, True)


def refused_data(tmp_path):
    rows = [list(row) for row in CSV_ROWS]
    whole = write_csv(tmp_path / "cut")
    return {
        "cut off": truncate(whole),
        "in train and test": write_csv(
            tmp_path / "both", [*CSV_ROWS, ("f/1.png", "ann", "c1", "gallery")]
        ),
        "one image each": write_classes(tmp_path / "single", dict.fromkeys("ab", 1)),
        "no query left": write_csv(tmp_path / "left", [row for row in rows if row[1] != "cleo"]),
    }


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("cut off", "line 6: the split is empty"),
        ("in train and test", "1 identities are in the training and in the test images"),
        ("one image each", "Every identity has one image only"),
        ("no query left", "Add --no-cameras to count them"),
    ],
)
def test_bad_data_ends_it_with_the_reason_and_nothing_is_written(
    mistake, message, covtool, net, tmp_path
):
    data = refused_data(tmp_path)[mistake]
    before = set(tmp_path.iterdir())
    told = ("--task", "retrieval", "--save-features", "f.npz")
    code, out, err = covtool("evaluate", net, "--data", data, *told, *QUICK)
    assert (code, out) == (4, "")
    assert message in " ".join(err.split())
    assert mistake == "cut off" or " another" in err
    assert set(tmp_path.iterdir()) == before


def test_features_of_another_number_of_images_are_refused(covtool, people, tmp_path):
    (tmp_path / "f.csv").write_text("f0,f1\n1,2\n3,4\n")
    code, _, err = covtool("evaluate", "--data", people, "--distances-from", "f.csv")
    assert code == 4
    assert "f.csv has features of 2 images, but" in " ".join(err.split())


def test_embed_writes_what_is_known_about_every_image(covtool, net, people, tmp_path):
    code, out, err = covtool("embed", net, people, "-o", "f.csv", *QUICK)
    assert code == 0, err
    assert "images, gallery" in out
    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [(row["path"], row["identity"], row["camera"], row["split"]) for row in rows]
    assert found == list(CSV_ROWS)
    code, _, err = covtool("embed", net, people, "-o", "f.csv", *QUICK)
    assert (code, "already exists" in err) == (2, True)


def test_embed_of_a_split_is_enough_for_a_search(covtool, net, tmp_path):
    data = write_market(tmp_path / "market")
    told = ("embed", net, data, "-o", "f.npz", "--split", "query", "--json", *QUICK)
    code, out, _ = covtool(*told)
    assert (code, json.loads(out)["images"]) == (0, {"query": 2})
    code, _, err = covtool("evaluate", "--data", data, "--distances-from", "f.npz")
    assert (code, "no features of 4 of the 6 images" in " ".join(err.split())) == (4, True)
    assert covtool("embed", net, data, "-o", "f.npz", "--overwrite", *QUICK)[0] == 0
    assert covtool("evaluate", "--data", data, "--distances-from", "f.npz")[0] == 0


@pytest.mark.parametrize(
    ("told", "code", "message"),
    [
        (("-o", "f.pth"), 2, ".safetensors, .npz, .csv"),
        (("-o", "nowhere/f.npz"), 2, "no folder nowhere"),
        (("-o", "f.npz", "--split", "dev"), 4, "no split called 'dev'"),
    ],
)
def test_embed_refuses_before_the_model_is_opened(told, code, message, covtool, people, tmp_path):
    model = tmp_path / "model.pth"
    model.write_bytes(b"nothing that could be opened")
    got, _, err = covtool("embed", model, people, *told, *QUICK)
    assert (got, message in err) == (code, True)


@pytest.mark.slow  # without a command around it: tests/evaluation/test_retrieving.py
def test_nproc_describes_and_searches_in_several_processes(covtool, net, people, tmp_path):
    alone = json.loads(covtool("evaluate", net, "--data", people, "--json", *QUICK)[1])
    arguments = ["evaluate", net, "--data", people, "-b", "1", "--nproc", "2", "--json", *QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "covtool_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"] == alone["figures"]
    assert done.stderr.count("train: 4 images") == 1
