"""`covtool predict` as a user runs it."""

import io
import json
import os
import re
import signal
import sys
import time

import pytest
import torch
from forked_command import ForkedCommand
from images import truncate, write_classes, write_image
from in_process import covtool

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=("ant", "bee", "crow"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    return save(model, tmp_path_factory.mktemp("net") / "net.safetensors")


@pytest.fixture
def here(tmp_path, monkeypatch):
    write_classes(tmp_path / "photos", {"x": 3, "y": 2})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments):
    return covtool("predict", *arguments, "--workers", 0, "--device", "cpu")


def test_answers_are_a_table_on_the_terminal(net, here):
    done = predict(net, "photos", "--top-k", 2, "--margin")
    assert done.returncode == 0, done.stderr
    for text in ("photos/x/000.png", "photos/y/001.png", "probability (%)", "margin (%)"):
        assert text in done.stdout
    assert len(re.findall(r"ant|bee|crow", done.stdout)) == 10


def test_many_answers_are_lines_that_come_at_once(net, here):
    (here / "list.txt").write_text("photos/x/000.png\n" * 120)
    done = predict(net, "list.txt", "--top-k", 1)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 120
    assert all(re.fullmatch(r"photos/x/000.png: \w+ [\d.]+ %", line) for line in lines)


def test_paths_come_through_a_pipe(net, here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("photos/x/000.png\nphotos/y/001.png\n"))
    done = predict(net, "-", "--json")
    answers = json.loads(done.stdout)["predictions"]
    assert [one["path"] for one in answers] == ["photos/x/000.png", "photos/y/001.png"]


def test_an_empty_pipe_is_an_error_and_leaves_nothing(net, here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    done = predict(net, "-", "-o", "a.csv")
    assert done.returncode == 4
    assert "no images on the standard input" in done.stderr
    assert not list(here.glob("a.csv*"))


def test_json_is_one_object(net, here):
    done = predict(net, "photos", "--json", "--logits")
    found = json.loads(done.stdout)
    assert (found["images"], found["failed"], found["num_classes"]) == (5, 0, 3)
    assert len(found["predictions"][0]["logits"]) == 3
    assert set(found["predictions"][0]["classes"]) == {"ant", "bee", "crow"}
    written = predict(net, "photos", "-o", "a.csv", "--json")
    assert json.loads(written.stdout)["files"] == ["a.csv"]
    assert json.loads(written.stdout)["predictions"] is None


def test_unreadable_images_end_with_exit_code_4_and_a_whole_file(net, here):
    truncate(here / "photos/x/001.png")
    done = predict(net, "photos", "-o", "a.csv")
    assert done.returncode == 4
    assert "1 of 5 images cannot be read" in done.stderr
    assert "photos/x/001.png" in done.stderr
    assert len((here / "a.csv").read_text().splitlines()) == 6
    skipped = predict(net, "photos", "-o", "b.csv", "--on-bad-image", "skip")
    assert skipped.returncode == 0
    assert "left out photos/x/001.png" in skipped.stderr
    assert len((here / "b.csv").read_text().splitlines()) == 5


def test_nothing_readable_is_an_error_either_way(net, here):
    bad = truncate(write_image(here / "bad.png"))
    for treatment in ("error", "skip"):
        assert predict(net, bad, "--on-bad-image", treatment).returncode == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["photos", "-o", "a.txt"], 2, "is not the name of a file of predictions"),
        (["photos", "--logits"], 2, "--logits are for a file"),
        (["photos", "--resume"], 2, "--resume goes on with a file"),
        (["photos", "-o", "a.csv", "--resume"], 2, "nothing to resume"),
        (["photos", "--top-k", "0"], 2, "--top-k 0 is not valid"),
        (["photos", "--threshold", "50"], 2, "--threshold 50"),
        (["photos", "--tta", "crops", "--crop-mode", "border"], 2, "no five crops"),
        (["photos", "-o", "a.csv", "--embeddings", "a.csv"], 2, "same name"),
        (["nowhere/*.jpg"], 4, "matches no image"),
        (["nowhere"], 4, "There is no nowhere"),
        ([], 2, "Missing argument"),
    ],
)
def test_mistakes_say_what_is_wrong(arguments, code, message, net, here):
    done = predict(net, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert not list(here.glob("a.*"))


def test_a_misspelt_model_is_a_checkpoint_error(here):
    assert predict("resnet5O.safetensors", "photos").returncode == 3


def test_options_that_the_help_leaves_out_work(net, here):
    assert "--crop-pct" not in covtool("predict", "--help").stdout
    with_option = predict(net, "photos/x", "--crop-pct", 0.5, "--json")
    assert json.loads(with_option.stdout)["input"]["crop_pct"] == 0.5


def test_evaluate_and_embed_run_in_mixed_precision_too(net, here):
    amp = ("--amp", "--amp-dtype", "bfloat16", "--workers", 0, "--device", "cpu")
    (here / "data").mkdir()
    write_classes(here / "data", {"ant": 2, "bee": 2, "crow": 2})
    done = covtool("evaluate", net, "--data", "data", *amp)
    assert done.returncode == 0, done.stderr
    attacked = covtool(
        "evaluate", net, "--data", "data", "--attack", "fgsm", "--eps", "4/255", *amp
    )
    assert attacked.returncode == 2
    assert "vanish in lower precision" in attacked.stderr
    for name, options in (("full.csv", amp[3:]), ("half.csv", amp)):
        done = covtool("embed", net, "data", "-o", name, *options)
        assert done.returncode == 0, done.stderr
    assert (here / "full.csv").read_text() != (here / "half.csv").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_a_signal_ends_goes_on(number, net, here):
    names = [f"photos/x/00{place % 3}.png" for place in range(160)]
    (here / "list.txt").write_text("".join(f"{name}\n" for name in names))
    options = ("list.txt", "-b", 2)
    process = ForkedCommand(
        *("predict", net, *options, "-o", "a.csv", "-j", 0, "--device", "cpu"), folder=here
    )
    partial = here / "a.csv.partial"
    while process.poll() is None:
        if partial.exists() and partial.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.005)
    os.kill(process.pid, number)
    code = process.wait(60)
    if number != signal.SIGKILL:
        assert code == 128 + number
        assert "--resume" in process.printed()
        assert "Traceback" not in process.printed()
        assert process.printed().count("Interrupted") == 1
    assert not (here / "a.csv").exists()
    assert partial.read_bytes().endswith(b"\n")
    resumed = predict(net, *options, "-o", "a.csv", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "done before" in resumed.stdout
    whole = predict(net, *options, "-o", "b.csv")
    assert whole.returncode == 0
    assert (here / "a.csv").read_bytes() == (here / "b.csv").read_bytes()
