"""covtool's own files are opened from the hub, here a local server with the real client.

The server is `hub_server`, as for uploads.
"""

import json
import time

import pytest
import torch
from hub_server import GOOD, client_of_it
from retrieval_models import make_model, write_model

import covtool
from covtool.checkpoints import open_model
from covtool.checkpoints.hub import split_name
from covtool.errors import CheckpointError
from covtool.model_limit import models_up_to

MARKED = json.dumps({"covtool": {}}).encode()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with client_of_it(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def net(tmp_path):
    return write_model(tmp_path, eigenlayer=8)


def test_a_file_is_opened_as_from_the_disk_and_its_source_is_noted(hub, net):
    repo = hub.add("me/net", {"config.json": MARKED, "model.safetensors": net.read_bytes()})
    opened = open_model("hf-hub:me/net")
    batch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened.model(batch), covtool.load(net)(batch))
    assert opened.recipe == open_model(net).recipe
    assert opened.checkpoint.format == "covtool"
    assert repo.branches["main"][:12] in opened.notes[0]


def test_a_revision_is_a_branch_or_a_commit(hub, net):
    other = covtool.save(make_model(), net.with_name("other.safetensors"))
    repo = hub.add("me/net", {"config.json": MARKED, "model.safetensors": net.read_bytes()})
    first = repo.branches["main"]
    files = {"config.json": MARKED, "model.safetensors": other.read_bytes()}
    repo.branches["plain"] = first
    repo.commit("plain", files, "plain")
    assert open_model("hf-hub:me/net@plain").recipe.operations == ()
    assert open_model(f"hf-hub:me/net@{first}").recipe.operations != ()
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        open_model("hf-hub:me/net@no-such")


def test_what_is_in_the_cache_is_opened_without_a_network(hub, net, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    hub.add("me/net", {"config.json": MARKED, "model.safetensors": net.read_bytes()})
    open_model("hf-hub:me/net")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert open_model("hf-hub:me/net").recipe.operations
    assert not hub.requests


def test_without_an_answer_the_hub_is_asked_once(monkeypatch, tmp_path, caplog):
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with client_of_it(monkeypatch, tmp_path / "cache"):
        nobody = "http://127.0.0.1:9"  # the port where nothing listens
        url = nobody + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", nobody)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        close_session()
        started = time.monotonic()
        with pytest.raises(CheckpointError, match="cannot be fetched") as caught:
            open_model("hf-hub:me/net")
    assert time.monotonic() - started < 5
    assert "The hub does not answer" in caught.value.reason
    assert not caplog.records


def test_a_file_that_was_uploaded_by_hand_is_recognized_by_its_recipe(hub, net):
    hub.add("me/net", {"model.safetensors": net.read_bytes()})
    assert open_model("hf-hub:me/net").recipe.operations


def test_a_repository_of_timm_is_opened_by_timm(hub, net):
    config = {
        "architecture": "test_resnet",
        "num_classes": 3,
        "pretrained_cfg": {"input_size": [3, 32, 32], "num_classes": 3, "classifier": "fc"},
    }
    plain = write_model(net.parent / "..")
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": plain.read_bytes()}
    hub.add("me/net", files)
    opened = open_model("hf-hub:me/net")
    assert opened.checkpoint is None
    assert opened.recipe.provenance.source == "hf-hub:me/net"


def test_a_damaged_file_is_refused(hub, net):
    content = bytearray(net.read_bytes())
    content[-1] ^= 1
    hub.add("me/net", {"config.json": MARKED, "model.safetensors": bytes(content)})
    with pytest.raises(CheckpointError):
        open_model("hf-hub:me/net")


def test_a_repository_that_says_covtool_and_is_not_is_refused(hub, tmp_path):
    from safetensors.torch import save

    foreign = save({"a": torch.zeros(3)})
    hub.add("me/net", {"config.json": MARKED, "model.safetensors": foreign})
    with pytest.raises(CheckpointError, match="is not a covtool file"):
        open_model("hf-hub:me/net")
    hub.add("me/empty", {"config.json": MARKED})
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        open_model("hf-hub:me/empty")


def test_a_file_larger_than_the_limit_is_not_even_fetched(hub, net):
    hub.add("me/net", {"config.json": MARKED, "model.safetensors": net.read_bytes()})
    with models_up_to(10_000), pytest.raises(CheckpointError, match="are allowed"):
        open_model("hf-hub:me/net")
    assert not any(r.startswith("GET") and "safetensors" in r for r in hub.requests)


def test_a_private_repository_needs_a_token(monkeypatch, tmp_path, net):
    with client_of_it(monkeypatch, tmp_path / "cache", token=None) as hub:
        files = {"config.json": MARKED, "model.safetensors": net.read_bytes()}
        hub.add("me/net", files, private=True)
        with pytest.raises(CheckpointError, match="cannot be fetched") as caught:
            open_model("hf-hub:me/net")
        assert "no such repository" in caught.value.reason
        monkeypatch.setenv("HF_TOKEN", GOOD)
        assert open_model("hf-hub:me/net").recipe.operations


def test_weights_that_are_there_stay_and_it_is_noted(hub, net):
    hub.add("me/net", {"config.json": MARKED, "model.safetensors": net.read_bytes()})
    opened = open_model("hf-hub:me/net", from_scratch=True)
    assert torch.equal(opened.model.fc[0].weight, covtool.load(net).fc[0].weight)
    assert any("not random" in note for note in opened.notes)


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:me/net@", "hf-hub:me/net@a@b"])
def test_a_name_without_a_repository_is_refused(name):
    with pytest.raises(CheckpointError, match="names no repository"):
        split_name(name)
