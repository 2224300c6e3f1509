"""Tar files that are damaged, lie, climb out or hold other things than labeled images."""

import io
import json
import random
import tarfile

import pytest
from images import write_classes
from PIL import Image

from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.reading import scan
from covtool.data.datasets.records.shards import MOST_CLASSES
from covtool.data.images.decoding import image_size, read_image
from covtool.errors import DataError


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def archive(members, *, format=tarfile.USTAR_FORMAT) -> bytes:
    """A tar file of names and contents; a type of tarfile's in place of the content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) == 1 and name.endswith("link.png"):
                info.type, info.linkname = content, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def samples(count=4, *, image=None, label=b"1"):
    for number in range(count):
        yield f"{number:03}.png", png() if image is None else image
        yield f"{number:03}.cls", label


@pytest.fixture
def scanned(tmp_path):
    def scanned(content: bytes):
        (tmp_path / "train-000.tar").write_bytes(content)
        return scan(f"wds/{tmp_path}")

    return scanned


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"1000000000", "labels count from 0 to 999,999"),
        (str(MOST_CLASSES).encode(), "labels count from 0"),
        (b"cat", "not a whole number"),
        (b"1.5", "not a whole number"),
        (b"1_0", "not a whole number"),
        (b"\x1b[2J", r"label '.*x1b\[2J', not a whole number"),
        (b"\xff", "not text in UTF-8"),
        (b"9" * 5000, "not a whole number"),
        (b" " * (2 << 20), "too many for a label"),
    ],
)
def test_a_label_that_is_none_is_refused_with_its_image(scanned, label, message):
    with pytest.raises(DataError, match=r"train-000\.tar cannot be read") as caught:
        scanned(archive(samples(label=label)))
    assert caught.match(message)
    assert "The image 000" in caught.value.reason
    assert caught.value.reason.isprintable()


def test_negative_labels_labels_alone_and_links_are_left_out_and_said(scanned):
    members = [*samples(2), ("x.png", png()), ("x.cls", b"-1"), ("y.cls", b"1")]
    members += [("a.link.png", tarfile.SYMTYPE), ("b.link.png", tarfile.CHRTYPE)]
    layout = scanned(archive(members))
    assert len(layout.samples("train")) == 2
    for note in (
        "1 image of 'train' with a negative label left out.",
        "1 label of 'train' without an image left out.",
        "2 links (or devices) in the tar files of 'train' left out, like a.link.png.",
    ):
        assert note in layout.notes


def test_members_that_climb_out_are_refused(scanned):
    with pytest.raises(DataError, match="climbs out of its folder"):
        scanned(archive([*samples(1), ("a/../../x.png", png())]))


def test_an_archive_that_is_cut_off_anywhere_is_refused(scanned):
    content = archive(samples(3))
    end = len(content.rstrip(b"\0"))
    for size in range(512, end, 512):
        with pytest.raises(DataError):
            scanned(content[:size])


def test_damage_behind_the_first_member_is_no_end(scanned):
    content = bytearray(archive(samples(3)))
    content[4 * 512 + 10] ^= 1
    with pytest.raises(DataError, match="damaged at byte"):
        scanned(bytes(content))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_whatever_the_headers_it_is_read_or_refused(scanned, format):
    members = [(f"{'x' * 120}/{name}", content) for name, content in samples(2)]
    content, generator = archive(members, format=format), random.Random(format)
    sizes = (b"\xff" * 12, b"\x80" + b"\0" * 11, b"77777777777\0", b"-0000000001\0", b"\x80" * 12)
    for _ in range(150):
        data = bytearray(content)
        at = 512 * generator.randrange(len(data) // 512)
        if generator.random() < 0.5:
            data[at + 124 : at + 136] = generator.choice(sizes)
        else:
            data[at + 156] = generator.choice(b"0123467xgLKSVXD")
        header = data[at : at + 512]
        header[148:156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        try:
            scanned(bytes(data))
        except DataError as problem:
            assert problem.reason.isprintable()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"filenames": ["../train-000.tar"]}, "not a file below the folder"),
        ({"filenames": ["/etc/passwd"]}, "not a file below the folder"),
        ({"filenames": ["pipe:cat /etc/passwd"]}, "not a file below the folder"),
        ({"filenames": ["http://127.0.0.1/x.tar"]}, "not a file below the folder"),
        ({"filenames": "train-000.tar"}, "no list of the names"),
        ({"filenames": [7]}, "not a name of a file"),
        ({}, "It has no 'filenames'"),
    ],
)
def test_a_description_names_files_of_its_folder_only(tmp_path, row, message):
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": row}}))
    with pytest.raises(DataError, match="does not describe the splits") as caught:
        scan(f"wds/{tmp_path}")
    assert message in caught.value.reason


def test_a_bad_image_of_a_shard_says_so_like_a_file(scanned):
    layout = scanned(archive(samples(1, image=png()[:36])))
    for look in (read_image, image_size):
        with pytest.raises(DataError, match=r"train-000\.tar:512 cannot be read"):
            look(layout.samples("train")[0].path)
    layout = scanned(archive(samples(1, image=b"")))
    with pytest.raises(DataError, match="The file is empty"):
        read_image(layout.samples("train")[0].path)


def test_features_of_shards_are_asked_for_as_of_folders(tmp_path):
    write_classes(tmp_path / "unused", {"a": 1})
    (tmp_path / "train-000.tar").write_bytes(archive(samples(3)))
    source = find_images(f"wds/{tmp_path}")
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 3}
    assert source.splits["train"][0].identity == "1"
