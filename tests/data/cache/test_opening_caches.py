"""Caches are filled once, checked, told and refused."""

import os
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from images import truncate, write_photographs

from covtool import free_memory
from covtool.data.cache import (
    CacheRequest,
    CacheSetting,
    capacity,
    estimate_caches,
    evaluation_form,
    filling,
    on_disk,
    open_caches,
    training_form,
)
from covtool.data.cache.planning import plan_cache
from covtool.data.datasets.reading import scan
from covtool.data.images.decoding import decode_image, read_image
from covtool.errors import ArgumentError, DataError
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec
from covtool.specs.byte_amounts import format_bytes

SIZES = [(40, 30), (100, 80), (30, 50), (64, 64), (200, 20)]
INPUT = InputSpec(size=(24, 24))


@pytest.fixture
def folder(tmp_path):
    return write_photographs(tmp_path / "photographs", SIZES)


@pytest.fixture
def requests(folder):
    samples = scan(folder).splits["train"]
    return [
        CacheRequest(
            split="train",
            samples=samples,
            form=training_form(INPUT, AugmentationSpec(scale=(0.5, 1))),
        ),
        CacheRequest(split="val", samples=samples[:3], form=evaluation_form(INPUT)),
    ]


@pytest.fixture
def setting(folder, tmp_path):
    """A setting of the kind given, and what it was told."""

    def make(cache="disk", **settings):
        notes = []
        spec = {
            "cache": cache,
            **({"cache_dir": str(tmp_path / "cache")} if cache == "disk" else {}),
        }
        spec |= {name: settings.pop(name) for name in list(settings) if name.startswith("cache_")}
        made = CacheSetting(spec=LoadingSpec(**spec), root=folder, note=notes.append, **settings)
        return made, notes

    return make


def assert_holds(cached, request, *, gray=False):
    assert cached.samples == tuple(request.samples)
    for row, sample in enumerate(request.samples):
        expected = request.form.pixels(read_image(sample.path, gray=gray))
        assert np.array_equal(cached.images[row].numpy(), expected[..., : 1 if gray else 3])
        image = read_image(sample.path)
        assert cached.images.index.locations([row])[0].space == request.form.space(image.size)[::-1]


@pytest.mark.parametrize("cache", ["ram", "disk", "device"])
@pytest.mark.parametrize("gray", [False, True])
def test_a_cache_holds_what_is_wanted_of_each_image(requests, setting, cache, gray):
    for _ in range(2):  # filled, and as it is found
        caches = open_caches(requests, setting(cache, gray=gray)[0])
        for cached, request in zip(caches, requests, strict=True):
            assert_holds(cached, request, gray=gray)


def test_what_it_takes_is_told_before_an_image_is_decoded(requests, setting, monkeypatch):
    made, notes = setting("ram")
    told = []
    monkeypatch.setattr(
        filling,
        "decode_image",
        lambda path, **how: (told.append(list(notes)), decode_image(path, **how))[1],
    )
    caches = open_caches(requests, made)
    taken = sum(len(cached.images.pixels) for cached in caches)
    assert (
        told[0]
        == notes
        == [f"The cache takes {format_bytes(taken)} of memory: 5 train images and 3 val images."]
    )


def test_a_file_is_mapped_when_it_is_there(requests, setting, monkeypatch):
    open_caches(requests, setting()[0])
    monkeypatch.setattr(filling, "decode_image", None)  # nothing is decoded
    made, notes = setting()
    caches = open_caches(requests, made)
    assert [note.split(" mapped from ")[0] for note in notes] == [
        "5 train images are",
        "3 val images are",
    ]
    assert caches[0].images.path == on_disk.cache_path(requests[0], made)


def _flip_a_byte(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path, samples: _flip_a_byte(path, -1), "its checksum is wrong"),
        (lambda path, samples: truncate(path), "it cannot be read"),
        (lambda path, samples: path.write_bytes(b""), "it cannot be read"),
        (lambda path, samples: os.utime(samples[0].path, (1, 1)), "the image files have changed"),
        (lambda path, samples: samples[0].path.unlink(), "the image files have changed"),
    ],
)
def test_a_file_that_cannot_be_used_is_made_anew_and_says_why(requests, setting, damage, reason):
    made, _ = setting(on_bad_image="skip")
    open_caches(requests[:1], made)
    path = on_disk.cache_path(requests[0], made)
    damage(path, requests[0].samples)
    made, notes = setting(on_bad_image="skip")
    (cached,) = open_caches(requests[:1], made)
    assert notes[-1] == f"The cache {path} is made again: {reason}."
    left = [sample for sample in requests[0].samples if sample.path.exists()]
    assert_holds(cached, replace(requests[0], samples=left))
    assert_holds(
        open_caches(requests[:1], setting(on_bad_image="skip")[0])[0],
        replace(requests[0], samples=left),
    )


def test_a_file_of_another_version_is_made_anew(requests, setting, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr("covtool.data.cache.cache_file.VERSION", "0")
        open_caches(requests[:1], setting()[0])
    made, notes = setting()
    open_caches(requests[:1], made)
    assert notes[-1].endswith("is made again: it is of another version.")


def test_other_settings_have_another_file(requests, setting):
    made, _ = setting()
    other = replace(requests[0], form=training_form(INPUT, AugmentationSpec(scale=(0.4, 1))))
    paths = {on_disk.cache_path(request, made) for request in (*requests, other)}
    assert len(paths) == 3


def test_a_moved_data_set_is_recognized_by_its_file(requests, setting, folder, tmp_path):
    """Names, sizes and times are those of the data set, wherever it is."""
    moved = folder.rename(tmp_path / "elsewhere")
    samples = scan(moved).splits["train"]
    there, _ = setting()
    identity = on_disk._identity(replace(requests[0], samples=samples), replace(there, root=moved))
    moved.rename(folder)
    assert identity == on_disk._identity(requests[0], there)


def test_one_of_several_processes_makes_the_file(requests, setting, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        filling,
        "decode_image",
        lambda path, **how: (decoded.append(path), decode_image(path, **how))[1],
    )
    opened = []

    def process():
        opened.append(open_caches(requests[:1], setting()[0])[0])

    processes = [threading.Thread(target=process) for _ in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert len(decoded) == len(SIZES)
    for cached in opened:
        assert_holds(cached, requests[0])


def test_another_process_maps_the_file_rather_than_copying_it(requests, setting):
    (cached,) = open_caches(requests[:1], setting()[0])
    message = pickle.dumps(cached.images)
    assert len(message) < 2000 < len(cached.images.pixels)
    assert torch.equal(pickle.loads(message)[1], cached.images[1])


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    requests, setting, monkeypatch, tmp_path
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ArgumentError, match="cannot be written") as caught:
        open_caches(requests, setting()[0])
    assert "No space left" in caught.value.reason
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_unreadable_images_are_an_error_or_left_out(requests, setting, cache):
    broken, empty = requests[0].samples[1].path, requests[0].samples[3].path
    truncate(broken)
    empty.write_bytes(b"")
    with pytest.raises(DataError, match="2 of 5 images cannot be read"):
        open_caches(requests[:1], setting(cache)[0])
    left = [sample for sample in requests[0].samples if sample.path not in (broken, empty)]
    for _ in range(2):
        (cached,) = open_caches(requests[:1], setting(cache, on_bad_image="skip")[0])
        assert_holds(cached, replace(requests[0], samples=left))
        assert [path for path, _ in cached.bad] == [broken, empty]
    with pytest.raises(DataError, match="2 of 5 images cannot be read"):
        open_caches(requests[:1], setting(cache)[0])


def test_more_than_is_allowed_is_refused_before_an_image_is_decoded(requests, setting, monkeypatch):
    monkeypatch.setattr(filling, "decode_image", None)
    with pytest.raises(ArgumentError) as caught:
        open_caches(requests, setting("ram", cache_memory="20kB")[0])
    needed = sum(plan_cache(request, setting("ram")[0]).num_bytes for request in requests)
    assert caught.value.message == (
        f"The cache needs {format_bytes(needed)}, but --cache-memory allows 20 kB."
    )
    assert caught.value.hint.startswith("Allow it with --cache-memory 1GB, map it from a file")


def test_more_than_is_free_is_refused(requests, setting, monkeypatch):
    monkeypatch.setattr(capacity, "free_memory", lambda: 40_000)
    monkeypatch.setattr(capacity, "free_on_disk", lambda folder: 10_000)
    open_caches(requests, setting("ram")[0])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(
        ArgumentError, match=r"in each of 2 processes, but 40 kB of memory are free"
    ):
        open_caches(requests, setting("ram")[0])
    with pytest.raises(ArgumentError, match=r"but 10 kB in .*cache are free"):
        open_caches(requests, setting("disk")[0])
    with pytest.raises(ArgumentError, match="--cache disk, or leave out --cache"):
        estimate_caches(requests, setting("device")[0])


def test_the_side_that_is_advised_fits_and_the_next_does_not(requests, setting):
    made, _ = setting("ram")

    def plans(side):
        form = training_form(INPUT, AugmentationSpec(scale=(0.5, 1)), side=side)
        return [plan_cache(w, made) for w in (replace(requests[0], form=form), requests[1])]

    for allowed in (27_000, 29_000, 30_500):
        side = capacity.fitting_side(plans(None), allowed)
        assert sum(plan.num_bytes for plan in plans(side)) <= allowed
        assert sum(plan.num_bytes for plan in plans(side + 1)) > allowed
    assert capacity.fitting_side(plans(None), 100) is None


def test_free_memory_is_what_system_and_container_leave(monkeypatch, tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:  3000 kB\n")
    monkeypatch.setattr(free_memory, "MEMINFO", meminfo)
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    assert free_memory.free_memory() == 3_072_000
    for name, text in (
        ("memory.max", "5000000"),
        ("memory.current", "4000000"),
        ("memory.stat", "anon 9\ninactive_file 500000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert free_memory.free_memory() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.free_memory() == 3_072_000
    meminfo.unlink()
    assert free_memory.free_memory() is None


def test_a_pipe_in_the_place_of_a_lock_is_not_waited_for(requests, setting):
    chosen, _ = setting()
    path = on_disk.cache_path(requests[0], chosen).with_suffix(".lock")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(ArgumentError, match="is a pipe, not a file"):
        open_caches(requests[:1], chosen)
