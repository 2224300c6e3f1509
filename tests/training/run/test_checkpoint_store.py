import os

import pytest
import torch
from training_runs import full_disk

from covtool.errors import SaveError
from covtool.training.run.checkpoints import CheckpointStore

SMALL, LARGE = {"x": torch.zeros(4)}, {"x": torch.arange(100_000.0)}


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path)


def value(path):
    return torch.load(path, weights_only=True)


def test_the_previous_state_stays_beside_the_newest(store):
    for number in range(3):
        store.save({"x": number})
    assert [value(path)["x"] for path in store.candidates()] == [2, 1]
    assert sorted(path.name for path in store.folder.iterdir()) == ["last.pt", "previous.pt"]


def test_further_names_are_the_same_content_without_a_second_copy(store):
    store.save(SMALL, ("best", "epoch-1"))
    files = [store.path(name) for name in ("last", "best", "epoch-1")]
    assert len({path.stat().st_ino for path in files}) == 1
    store.save(LARGE)
    assert torch.equal(value(store.path("best"))["x"], SMALL["x"])


def test_names_work_where_there_are_no_links(store, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    store.save(SMALL, ("best",))
    store.save(LARGE)
    assert torch.equal(value(store.path("best"))["x"], SMALL["x"])
    assert torch.equal(value(store.path("previous"))["x"], SMALL["x"])


def test_a_full_disk_leaves_every_state_as_it_was(store):
    store.save(SMALL, ("best",))
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    with full_disk(50_000), pytest.raises(SaveError, match=r"last\.pt cannot be written") as caught:
        store.save(LARGE)
    assert "File too large" in caught.value.reason
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before
    store.save(LARGE)
    assert torch.equal(value(store.path("last"))["x"], LARGE["x"])


def test_what_does_not_read_back_is_not_taken_for_saved(store, monkeypatch):
    store.save(SMALL)
    kept = store.path("last").read_bytes()
    real = torch.save

    def damaging(payload, file):
        real(payload, file)
        file.seek(file.tell() // 2)
        file.write(b"\xff" * 64)

    monkeypatch.setattr(torch, "save", damaging)
    with pytest.raises(SaveError, match=r"last\.pt cannot be written") as caught:
        store.save(LARGE)
    assert "damaged" in caught.value.reason
    assert store.path("last").read_bytes() == kept


def test_only_the_epochs_that_are_wanted_are_kept(store):
    for epoch in (1, 2, 3):
        store.save(SMALL, (f"epoch-{epoch}",))
    store.keep_epochs([2])
    names = {path.name for path in store.folder.iterdir()}
    assert names == {"last.pt", "previous.pt", "epoch-2.pt"}
