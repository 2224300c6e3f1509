"""A cache that is damaged or lies is made anew: never wrong images, nothing unforeseen."""

import json
import os
import random
import zlib

import pytest
from images import write_photographs

from covtool.data.cache import CacheRequest, CacheSetting, on_disk, open_caches, training_form
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec

ARRAYS = ("offsets", "sizes", "spaces", "pixels")


@pytest.fixture
def cache(tmp_path):
    """A cache's file, and what opens it: its images, and what was noted."""
    folder = write_photographs(tmp_path / "photographs", [(40, 30), (100, 80), (30, 50)])
    form = training_form(InputSpec(size=(24, 24)), AugmentationSpec(scale=(0.5, 1)))
    request = CacheRequest(split="train", samples=scan(folder).splits["train"], form=form)

    def opened():
        notes = []
        spec = LoadingSpec(cache="disk", cache_dir=str(tmp_path / "cache"))
        setting = CacheSetting(spec=spec, root=folder, note=notes.append)
        (images,) = open_caches([request], setting)
        rows = range(len(images))
        state = [
            (images.images[row].numpy().tobytes(), images.images.index.locations([row])[0])
            for row in rows
        ]
        return (
            state,
            any("made again" in note for note in notes),
            on_disk.cache_path(request, setting),
        )

    truth, _, path = opened()
    return path, lambda: opened()[:2], truth


def with_header(content: bytes, change) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header, content[8 + length :])
    text = json.dumps(header).encode().ljust(length)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def test_flips_anywhere_never_give_wrong_images(cache):
    path, opened, truth = cache
    content, generator = path.read_bytes(), random.Random(0)
    length = int.from_bytes(content[:8], "little")
    for number in range(30):
        data = bytearray(content)
        data[generator.randrange(8 + length if number % 2 else len(data))] ^= (
            1 << generator.randrange(8)
        )
        path.write_bytes(data)
        assert opened()[0] == truth


@pytest.mark.parametrize("one", ARRAYS)
@pytest.mark.parametrize("other", ARRAYS)
def test_a_header_that_takes_arrays_for_each_other_is_found_out(cache, one, other):
    path, opened, truth = cache

    def swap(header, _):
        header[one], header[other] = header[other], header[one]

    path.write_bytes(with_header(path.read_bytes(), swap))
    state, anew = opened()
    assert state == truth
    assert anew == (one != other)


@pytest.mark.parametrize("value", [-1, 2**31 - 1, 0, 7])
@pytest.mark.parametrize("at", [0, 8, 24, 28, 48, 52])
def test_an_index_that_leads_elsewhere_is_found_out_though_its_checksum_is_right(cache, at, value):
    path, opened, truth = cache
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + at : start + at + 4] = value.to_bytes(4, "little", signed=True)

    def seal(header, body):
        header["__metadata__"]["checksum"] = f"{zlib.crc32(body):08x}"

    path.write_bytes(with_header(bytes(content), seal))
    state, anew = opened()
    if not anew:  # only the space of crops, which has no measure of its own
        assert [image for image, _ in state] == [image for image, _ in truth]


@pytest.mark.parametrize("kept", [None, 0, -5], ids=["missing", "empty", "cut"])
def test_what_is_no_cache_is_made_anew(cache, kept):
    path, opened, truth = cache
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    assert opened()[0] == truth
    assert path.is_file()


@pytest.mark.parametrize(
    ("put", "what"),
    [(os.mkfifo, "a pipe"), (lambda path: path.symlink_to("/dev/zero"), "a device")],
)
def test_what_is_no_file_is_neither_waited_for_nor_replaced(cache, put, what):
    path, opened, _ = cache
    path.unlink()
    put(path)
    with pytest.raises(ArgumentError, match=f"is {what}, not a file"):
        opened()
