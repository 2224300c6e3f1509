"""`covtool card`."""

import json
import re

import torch
from in_process import covtool
from retrieval_models import make_model, write_model


def test_the_card_is_printed_and_written_alike(tmp_path):
    net = write_model(tmp_path)
    printed = covtool("card", net)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("---\nlibrary_name: timm\n")
    assert "# `test_resnet`" in printed.stdout
    written = covtool("card", net, "-o", tmp_path / "README.md")
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "README.md").read_text() == printed.stdout


def test_as_json_it_is_one_object(tmp_path):
    done = covtool("card", write_model(tmp_path, eigenlayer=8), "--json")
    assert json.loads(done.stdout)["text"].startswith("---\nlibrary_name: covtool\n")


def test_another_suffix_is_refused_before_anything_is_opened(tmp_path):
    done = covtool("card", tmp_path / "nowhere.safetensors", "-o", tmp_path / "card.pdf")
    assert done.returncode == 2
    assert "card.md" in done.stderr


def test_a_card_is_replaced_only_on_request(tmp_path):
    net = write_model(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    assert covtool("card", net, "-o", tmp_path / "README.md").returncode == 2
    assert (tmp_path / "README.md").read_text() == "mine"
    assert covtool("card", net, "-o", tmp_path / "README.md", "--overwrite").returncode == 0
    assert (tmp_path / "README.md").read_text() != "mine"


def test_what_is_assumed_about_a_foreign_file_is_in_its_card(tmp_path):
    torch.save(make_model().state_dict(), tmp_path / "net.pth")
    done = covtool("card", tmp_path / "net.pth", "--arch", "test_resnet")
    assert done.returncode == 0, done.stderr
    assert "It began with `net.pth`" in done.stdout


def test_the_code_in_a_card_runs(tmp_path, monkeypatch):
    net = write_model(tmp_path)
    card = covtool("card", net).stdout
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    opened = []
    for block in blocks:
        names = {}
        exec(block, names)
        opened.append(names["model"])
    batch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first, second = (model(batch) for model in opened)
    assert torch.equal(first, second)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"{}")
    assert covtool("card", tmp_path / "net.safetensors").returncode == 3


def test_a_name_that_is_no_plain_one_does_not_reach_the_code(tmp_path):
    net = write_model(tmp_path).rename(tmp_path / '"); import os; ("x.safetensors')
    assert 'covtool.load("model.safetensors")' in covtool("card", net).stdout
