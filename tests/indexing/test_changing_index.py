"""Images that are added to an index and removed from it, also when the process is killed."""

import errno
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import filelock
import pytest
import torch
from forked_command import ForkedCommand
from images import write_image
from indexed_images import NAMES, PER_NAME, QUICK, make_net, write_gallery

from covtool import atomic
from covtool.atomic import staging
from covtool.errors import ArgumentError, CheckpointError, DataError
from covtool.evaluation.features.files import FeatureWriter, read_features
from covtool.indexing import index_file, making
from covtool.indexing.building import IndexRequest, build_index
from covtool.indexing.changing import IndexChange, change_index
from covtool.indexing.in_use import index_in_use
from covtool.indexing.index_file import read_index, read_record
from covtool.specs.indexing import IndexSpec

COUNT = len(NAMES) * PER_NAME


def change(index, **settings):
    return change_index(IndexChange(index=index, **QUICK, **settings))


@pytest.fixture
def more(tmp_path):
    return write_gallery(tmp_path / "more", names=("eve", "finn"), count=2)


def test_added_images_are_as_if_they_had_been_there(net, people, gallery, more, tmp_path):
    before = read_features(gallery)
    done = change(gallery, add=(more,))
    assert (done.images, done.added, done.replaced, done.removed) == (COUNT + 4, 4, 0, 0)
    after = read_features(gallery)
    assert torch.equal(after.features[:COUNT], before.features)
    assert after.labels[:COUNT] == before.labels
    build_index(IndexRequest(source=net, images=(more,), output=tmp_path / "alone.index", **QUICK))
    assert torch.equal(after.features[COUNT:], read_features(tmp_path / "alone.index").features)
    assert [label.identity for label in after.labels[COUNT:]] == ["eve", "eve", "finn", "finn"]
    assert read_record(gallery) == done.record


def test_what_was_added_and_removed_leaves_the_same_bytes(gallery, more):
    before = gallery.read_bytes()
    change(gallery, add=(more,))
    change(gallery, remove=(more.parent,))
    assert gallery.read_bytes() == before


def test_images_are_removed_by_their_names_in_the_index_or_on_the_disk(people, gallery):
    done = change(gallery, remove=(people.parent / "ann" / "0.png", Path("bob")))
    assert (done.images, done.removed, done.device) == (COUNT - 1 - PER_NAME, 1 + PER_NAME, None)
    left = {label.path for label in read_features(gallery).labels}
    assert "ann/0.png" not in left
    assert not any(path.startswith("bob") for path in left)


def test_images_that_are_not_in_it_are_named(people, gallery):
    before = gallery.read_bytes()
    with pytest.raises(DataError, match=r"no image .*nobody"):
        change(gallery, remove=(people.parent / "ann", people.parent / "nobody"))
    assert gallery.read_bytes() == before


def test_an_index_is_never_empty(people, gallery):
    with pytest.raises(DataError, match="No image would be left"):
        change(gallery, remove=(people.parent,))


def test_an_image_is_added_once_or_replaced(net, gallery, tmp_path):
    listed = write_gallery(tmp_path / "own", names=("x", "y"), count=2)
    index = tmp_path / "own.index"
    build_index(IndexRequest(source=net, images=(listed,), output=index, **QUICK))
    with pytest.raises(DataError, match="4 images of 4 images are in"):
        change(index, add=(listed,))
    before = read_features(index)
    write_image(tmp_path / "own" / "x" / "0.png", seed=77)
    done = change(index, add=(listed,), overwrite=True)
    assert (done.images, done.added, done.replaced) == (4, 0, 4)
    after = read_features(index)
    assert after.labels == before.labels
    assert not torch.equal(after.features[0], before.features[0])
    assert torch.equal(after.features[1:], before.features[1:])


def test_an_image_that_cannot_be_read_any_more_keeps_its_features(net, tmp_path):
    listed = write_gallery(tmp_path / "own", names=("x", "y"), count=2)
    index = tmp_path / "own.index"
    build_index(IndexRequest(source=net, images=(listed,), output=index, **QUICK))
    (tmp_path / "own" / "x" / "0.png").write_bytes(b"no image")
    done = change(index, add=(listed,), overwrite=True, on_bad_image="skip")
    assert (done.images, done.replaced, len(done.unreadable)) == (4, 3, 1)
    assert {label.path for label in read_features(index).labels} >= {"x/0.png"}


def test_another_model_adds_nothing(gallery, more, tmp_path):
    before = gallery.read_bytes()
    with pytest.raises(CheckpointError, match="is not the model of"):
        change(gallery, add=(more,), source=str(make_net(tmp_path / "other", seed=1)))
    assert gallery.read_bytes() == before


def test_other_features_than_those_of_the_index_are_refused(gallery, more):
    with pytest.raises(ArgumentError, match="has metric cosine, not euclidean"):
        change(gallery, add=(more,), spec=IndexSpec(metric="euclidean"))


def test_images_without_labels_are_said(gallery, more):
    done = change(gallery, add=(more.parent / "eve",))
    assert any("2 images of 2 came without identities" in note for note in done.notes)


def test_another_program_is_not_overwritten(gallery, more, monkeypatch, tmp_path):
    finish = making.IndexMaking._finished
    other = tmp_path / "other.index"
    shutil.copy(gallery, other)

    def meanwhile(self, stored, track):
        other.replace(gallery)
        return finish(self, stored, track)

    monkeypatch.setattr(making.IndexMaking, "_finished", meanwhile)
    with pytest.raises(DataError, match="changed by another program"):
        change(gallery, add=(more,))
    assert len(read_features(gallery).labels) == COUNT


def test_two_commands_do_not_change_one_index_at_once(net, people, gallery, more, monkeypatch):
    finish = making.IndexMaking._finished
    refused = []

    def meanwhile(self, stored, track):
        monkeypatch.setattr(making.IndexMaking, "_finished", finish)
        with pytest.raises(DataError, match="is being changed by another command"):
            change(gallery, remove=(Path("ann"),))
        again = IndexRequest(source=net, images=(people,), output=gallery, overwrite=True, **QUICK)
        with pytest.raises(DataError, match="is being changed by another command") as told:
            build_index(again)
        refused.append(told)
        return finish(self, stored, track)

    monkeypatch.setattr(making.IndexMaking, "_finished", meanwhile)
    change(gallery, add=(more,))
    assert len(refused) == 1
    assert len(read_features(gallery).labels) == COUNT + 4
    change(gallery, remove=(Path("ann"),))  # the lock is let go of


def test_links_to_an_index_share_its_lock_which_goes_with_the_block(gallery, tmp_path):
    before = set(gallery.parent.iterdir())
    (tmp_path / "link").symlink_to(gallery)
    with index_in_use(gallery), pytest.raises(DataError), index_in_use(tmp_path / "link"):
        pass
    assert set(gallery.parent.iterdir()) - {tmp_path / "link"} == before


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_an_index_that_cannot_be_locked_is_not_changed(gallery, more, monkeypatch, number):
    acquire = filelock.FileLock.acquire

    def failing(lock, **options):
        if Path(lock.lock_file).name == f".{gallery.name}.lock":
            raise OSError(number, os.strerror(number))
        return acquire(lock, **options)

    monkeypatch.setattr(filelock.FileLock, "acquire", failing)
    before = gallery.read_bytes()
    with pytest.raises(DataError, match="cannot be locked") as told:
        change(gallery, add=(more,))
    assert os.strerror(number) in told.value.reason
    assert gallery.read_bytes() == before


def test_an_index_whose_lock_file_cannot_be_opened_is_not_changed(gallery, more):
    before = gallery.read_bytes()
    gallery.with_name(f".{gallery.name}.lock").mkdir()
    with pytest.raises(DataError, match="cannot be locked") as told:
        change(gallery, add=(more,))
    assert f".{gallery.name}.lock" in told.value.reason
    assert gallery.read_bytes() == before


def killed(function, *, after=0):
    """A function that kills its process in place of the call after so many."""
    calls = []

    def call(*arguments, **settings):
        calls.append(1)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **settings)

    return call


STAGES = {
    "before the old images are copied": (FeatureWriter, "append", 0),
    "before the new ones are added": (FeatureWriter, "append", 1),
    "before the record is made": (making.IndexMaking, "_finished", 0),
    "before the new file is written": (index_file, "write_safetensors", 0),
    "before it is compared with the old one": (index_file, "_require_unchanged", 0),
    "before it reaches the disk": (atomic, "_settle", 0),
    "before the name is synced": (atomic, "_sync_names", 0),
    "before old search files go": (making.IndexMaking, "_remove_inverted_files_but", 0),
}


def be_killed_at(stage):
    owner, name, after = STAGES[stage]
    setattr(owner, name, killed(getattr(owner, name), after=after))


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_process_leaves_the_old_index_or_the_new_one(gallery, more, tmp_path, stage):
    old = gallery.read_bytes()
    shutil.copy(gallery, tmp_path / "whole.index")
    change(tmp_path / "whole.index", add=(more,))
    new = (tmp_path / "whole.index").read_bytes()
    process = ForkedCommand(
        *("index", gallery, more, "--add", "-j", "0", "--device", "cpu"),
        folder=tmp_path,
        prepare=partial(be_killed_at, stage),
    )
    assert process.wait(60) == -signal.SIGKILL, process.printed()
    is_named = stage in ("before the name is synced", "before old search files go")
    assert gallery.read_bytes() == (new if is_named else old)
    assert len(read_index(gallery)) == COUNT + (4 if is_named else 0)
    if not is_named:  # and the next one tidies up and does it
        change(gallery, add=(more,))
        assert gallery.read_bytes() == new
    if is_named:  # what the kill left is tidied up by the next that changes it
        change(gallery, remove=(Path("ann"),))
    staging.remove_abandoned(tmp_path)
    assert not list(tmp_path.glob(".*"))
