"""Uploads by huggingface_hub's real client to a local server that speaks the hub's protocol.

The server is `hub_server`; the client's constants, which are read when it is imported, are set to
its address. Xet is turned off: the client then uploads by LFS.
"""

import json
from pathlib import Path

import pytest
import timm
import torch
from hub_server import READER, client_of_it
from retrieval_models import SMALL, make_model, write_model

import covtool
from covtool.checkpoints import open_model
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    HubError,
    OutputExistsError,
    VerificationError,
)
from covtool.sharing.push import PushRequest, push

# huggingface_hub's own, in its upload by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

FILES = ("README.md", "config.json", "model.safetensors")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with client_of_it(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def net(tmp_path):
    return write_model(tmp_path)


def pushed(net, repo="me/net", **fields):
    return push(PushRequest(source=str(net), repo=repo, **fields))


def test_the_file_goes_as_it_is_with_card_and_configuration(hub, net):
    done = pushed(net)
    files = hub.files("me/net")
    assert sorted(files) == sorted(FILES)
    assert files["model.safetensors"] == net.read_bytes()
    assert "hf-hub:me/net" in files["README.md"].decode()
    assert done.created
    assert done.url.endswith(hub.repos["me/net"].branches["main"])
    assert {file.name: file.bytes for file in done.files} == {k: len(v) for k, v in files.items()}
    assert hub.repos["me/net"].messages[-1] == "net.safetensors, with its card"


def test_timm_opens_a_plain_model_from_the_hub(hub, net):
    assert pushed(net).opens_with == ("covtool", "timm")
    opened = timm.create_model("hf-hub:me/net", pretrained=True).eval()
    batch = torch.rand(2, 3, *SMALL.size)
    with torch.no_grad():
        assert torch.equal(opened(batch), covtool.load(net)(batch))
    images = timm.data.resolve_data_config(model=opened)
    assert tuple(images["input_size"]) == (3, 32, 32)


def test_timm_refuses_what_it_cannot_build(hub, tmp_path):
    net = write_model(tmp_path, eigenlayer=8)
    done = pushed(net)
    assert done.opens_with == ("covtool",)
    assert any("Eigenlayer" in note for note in done.notes)
    config = json.loads(hub.files("me/net")["config.json"])
    assert "architecture" not in config
    assert config["covtool"]["base"]["name"] == "test_resnet"
    with pytest.raises(KeyError, match="architecture"):
        timm.create_model("hf-hub:me/net", pretrained=True)
    batch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(open_model("hf-hub:me/net").model(batch), covtool.load(net)(batch))


def test_a_dry_run_asks_nothing_and_lists_everything(hub, net):
    done = pushed(net, dry_run=True)
    assert not hub.requests
    assert sorted(file.name for file in done.files) == sorted(FILES)
    assert (done.url, done.created) == (None, False)


def test_the_same_again_is_nothing_to_do(hub, net):
    pushed(net)
    commits = len(hub.repos["me/net"].commits)
    again = pushed(net)
    assert again.unchanged
    assert len(hub.repos["me/net"].commits) == commits


def test_other_content_is_replaced_only_on_request(hub, net):
    hub.add("me/net", {"model.safetensors": b"another", "notes.txt": b"mine"})
    with pytest.raises(OutputExistsError, match="me/net holds other content") as caught:
        pushed(net)
    assert "model.safetensors, notes.txt" in caught.value.reason
    assert hub.files("me/net")["model.safetensors"] == b"another"
    done = pushed(net, overwrite=True)
    assert hub.files("me/net")["model.safetensors"] == net.read_bytes()
    assert hub.files("me/net")["notes.txt"] == b"mine"
    assert any("notes.txt" in note for note in done.notes)


def test_a_new_branch_leaves_the_main_one_as_it_is(hub, net):
    hub.add("me/net", {"model.safetensors": b"another"})
    pushed(net, revision="v2", message="the second")
    assert hub.files("me/net")["model.safetensors"] == b"another"
    assert hub.files("me/net", "v2")["model.safetensors"] == net.read_bytes()
    assert hub.repos["me/net"].messages[-1] == "the second"
    with pytest.raises(OutputExistsError):
        pushed(write_other(net), revision="v2")
    assert open_model("hf-hub:me/net@v2").recipe.base.name == "test_resnet"


def write_other(net):
    model = make_model()
    with torch.no_grad():
        model.fc.bias += 1
    return covtool.save(model, net.with_name("other.safetensors"))


def test_a_private_repository_is_made_private_and_a_public_one_is_refused(hub, net):
    pushed(net, private=True)
    assert hub.repos["me/net"].private
    hub.add("me/public", {})
    with pytest.raises(ArgumentError, match="me/public is public"):
        pushed(net, "me/public", private=True)
    assert not hub.files("me/public")


def test_what_another_uploads_meanwhile_is_not_lost(hub, net):
    repo = hub.add("me/net", {})
    hub.before_commit = lambda: repo.commit("main", {"theirs.txt": b"1"}, "theirs")
    with pytest.raises(HubError, match="The upload to me/net failed") as caught:
        pushed(net)
    assert "changed by another" in caught.value.reason
    assert set(hub.files("me/net")) == {"theirs.txt"}


def test_a_file_that_the_repository_ignores_is_missed(hub, net):
    hub.ignored = ("model.safetensors",)
    with pytest.raises(VerificationError, match=r"model\.safetensors is not in me/net"):
        pushed(net)


@pytest.mark.parametrize(
    ("token", "reason", "hint"),
    [(None, "does not accept the token", "hf auth login"), (READER, "may not", "write to me")],
)
def test_without_the_right_to_write_it_is_said_what_to_do(
    monkeypatch, tmp_path, net, token, reason, hint
):
    with client_of_it(monkeypatch, tmp_path / "cache", token=token) as hub:
        with pytest.raises(HubError, match="The upload to me/net failed") as caught:
            pushed(net)
        assert not hub.repos
    assert reason in caught.value.reason
    assert hint in caught.value.hint


@pytest.mark.parametrize(("status", "words"), [(500, "fault of its own"), (429, "a pause")])
def test_a_hub_that_fails_is_not_the_users_fault(hub, net, monkeypatch, status, words):
    hub.failing = {"/api/repos/create": status}
    with pytest.raises(HubError) as caught:
        pushed(net)
    assert words in caught.value.reason


def test_a_hub_that_is_silent_after_the_commit_does_not_undo_it(hub, net):
    hub.add("me/net", {})
    hub.before_commit = lambda: hub.failing.update({"/revision/": 500})
    done = pushed(net)
    assert done.url is not None
    assert any("could not be compared" in note for note in done.notes)


def test_without_a_network_nothing_is_even_opened(net):
    with pytest.raises(ArgumentError, match="Nothing can be uploaded") as caught:
        pushed(Path("nowhere.safetensors"))
    assert "HF_HUB_OFFLINE" in caught.value.reason


def test_a_hub_that_does_not_answer_is_an_error_in_words(hub, net, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError) as caught:
        pushed(net)
    assert "does not answer" in caught.value.reason


def test_a_foreign_checkpoint_is_to_be_converted_first(tmp_path):
    model = make_model()
    torch.save(model.state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="is not a covtool file") as caught:
        pushed(tmp_path / "net.pth", dry_run=True)
    assert "covtool convert" in caught.value.hint


@pytest.mark.parametrize(
    "repo",
    ["net", "me/", "/net", "a/b/c", "me/a b", "me/..", "me/a--b", "me/" + "x" * 96, "me/a.git"],
)
def test_a_name_that_no_repository_has_is_refused(net, repo):
    with pytest.raises(ArgumentError, match="not the name of a repository"):
        pushed(net, repo, dry_run=True)


@pytest.mark.parametrize("fields", [{"revision": "a b"}, {"message": " "}])
def test_a_branch_or_message_that_cannot_be_is_refused(net, fields):
    with pytest.raises(ArgumentError):
        pushed(net, dry_run=True, **fields)


def test_a_runs_folder_stands_for_its_best_model(tmp_path):
    exported = tmp_path / "run" / "exported"
    exported.mkdir(parents=True)
    covtool.save(make_model(), exported / "best.safetensors")
    done = pushed(tmp_path / "run", dry_run=True)
    assert done.file == exported / "best.safetensors"
    assert any("best.safetensors is taken" in note for note in done.notes)
