"""`covtool push`, and what it left behind opened by its name on the hub.

The server is `hub_server`, on this machine; the client is huggingface_hub's own.
"""

import json

import pytest
import torch
from hub_server import READER, client_of_it
from in_process import covtool
from retrieval_models import make_model, write_model

# huggingface_hub's own, in its upload by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_file_is_shared_and_inspected_by_its_name(monkeypatch, tmp_path):
    net = write_model(tmp_path, eigenlayer=8)
    with client_of_it(monkeypatch, tmp_path / "cache") as hub:
        done = covtool("push", net, "me/net", "-m", "first")
        assert done.returncode == 0, done.stderr
        assert "hf-hub:me/net" in done.stdout
        assert hub.files("me/net")["model.safetensors"] == net.read_bytes()
        seen = covtool("inspect", "hf-hub:me/net", "--json")
        assert seen.returncode == 0, seen.stderr
        assert json.loads(seen.stdout)["recipe"]["operations"][0]["operation"] == "eigenlayer"
        card = covtool("card", "hf-hub:me/net@main")
        assert "covtool predict hf-hub:me/net " in card.stdout
        again = covtool("push", "hf-hub:me/net", "me/copy", "--json")
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["created"] is True
        assert hub.files("me/copy")["model.safetensors"] == net.read_bytes()


def test_a_dry_run_works_without_a_network(tmp_path):
    done = covtool("push", write_model(tmp_path), "me/net", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [file["name"] for file in result["files"]] == [
        "model.safetensors",
        "config.json",
        "README.md",
    ]
    assert result["url"] is None


def test_refusals_have_their_exit_codes(monkeypatch, tmp_path):
    net = write_model(tmp_path)
    torch.save(make_model().state_dict(), tmp_path / "net.pth")
    assert covtool("push", net, "me/net").returncode == 2  # HF_HUB_OFFLINE
    assert covtool("push", net, "net", "--dry-run").returncode == 2
    foreign = covtool("push", tmp_path / "net.pth", "me/net", "--dry-run")
    assert foreign.returncode == 3
    with client_of_it(monkeypatch, tmp_path / "cache", token=READER) as hub:
        assert covtool("push", net, "me/net").returncode == 1
        hub.add("me/net", {"model.safetensors": b"another"})
        taken = covtool("push", net, "me/net")
        assert taken.returncode == 2
        assert "--overwrite" in taken.stderr


def test_the_token_is_never_shown(monkeypatch, tmp_path):
    net = write_model(tmp_path)
    with client_of_it(monkeypatch, tmp_path / "cache", token="hf_secret") as hub:
        for failing in ({}, {"/api/": 500}, {"/api/repos": 400}):
            hub.failing = failing
            done = covtool("push", net, "me/net", "--debug")
            assert done.returncode == 1
            assert "hf_secret" not in done.stdout + done.stderr
