"""Lists of images and folders that are damaged, endless, elsewhere or not to be read."""

import json
import os
import warnings

import pytest
from images import write_classes, write_image
from odd_paths import put
from published_trees import TREES

from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.lists.csv_file import MOST_COLUMNS
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_retrieval, task_of
from covtool.errors import DataError

ROWS = "path,label,split\na.png,cat,train\nb.png,dog,train\na.png,cat,val\n".replace(
    "a.png", "c.png", 1
)


@pytest.fixture
def listed(tmp_path):
    """A list of that content, beside its images."""
    for name in "abc":
        write_image(tmp_path / "data" / f"{name}.png", seed=ord(name))

    def listed(content: bytes | str, name="list.csv"):
        file = tmp_path / "data" / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return listed


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_that_a_mark_tells_is_read_and_said(listed, encoding):
    layout = scan(listed(ROWS.encode(encoding)))
    assert layout.class_names == ("cat", "dog")
    said = [note for note in layout.notes if "is read as" in note]
    assert len(said) == (encoding in ("utf-16", "utf-32"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS.encode("utf-16-le"), "Line 1 has a NUL.*UTF-16"),
        (ROWS.replace("cat", "chätte").encode("latin-1"), "0xe4, as text in Latin-1"),
        (ROWS.replace("dog", "d\0g"), "Line 3 has a NUL"),
        (b"\xff\xfe" + ROWS.encode(), "UTF-16"),
        (ROWS.replace("dog", '"dog'), "opens in line 3 or behind it and never closes"),
        ('"' + ROWS, "never closes"),
        (ROWS.replace("dog", '"dog\ncat"'), "4 lines? *|in 2 lines"),
        (ROWS.replace("dog", "d" * 5000), "5,000 characters"),
        (ROWS.replace("dog", "d" * 200_000), "field larger than field limit"),
        (ROWS.replace("dog", "d" * (5 << 20)), "more than 4,194,304 characters"),
        (",".join(f"c{n}" for n in range(MOST_COLUMNS + 1)), "10,001 columns"),
        (ROWS.replace("b.png", "x" * 3000), "1 of 3 images .* are not there"),
        (ROWS.replace("b.png", "x\x1b[2J.png"), r"x\\x1b\[2J"),
        (ROWS.replace("dog,train", "dog,\x1b[2J"), r"no split .*x1b\[2J"),
        ("", "no column 'path'"),
    ],
)
def test_a_csv_file_with_a_mistake_is_refused_in_short(listed, content, message):
    for read in (scan, read_retrieval, find_images):
        with pytest.raises(DataError) as caught:
            read(listed(content))
        text = f"{caught.value.message}\n{caught.value.reason}"
        assert caught.match("(?s).*" + message)
        assert text.replace("\n", "").isprintable()
        assert len(text) < 1000


def test_images_outside_of_the_folder_are_allowed_and_said(listed, tmp_path):
    write_image(tmp_path / "away.png")
    inside = ROWS.replace("b.png", "../data/b.png")
    for text, count in ((inside, 0), (ROWS.replace("b.png", "../away.png"), 1)):
        for read in (scan, find_images):
            said = [note for note in read(listed(text)).notes if "outside of" in note]
            assert len(said) == count
    absolute = ROWS.replace("b.png", str(tmp_path / "away.png"))
    assert any("1 image lies outside of" in note for note in scan(listed(absolute)).notes)
    retrieval = absolute.replace("label", "identity").replace("val", "query")
    assert any("outside of" in note for note in read_retrieval(listed(retrieval)).notes)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "long", "circle"])
def test_what_is_no_list_is_neither_waited_for_nor_read(tmp_path, kind):
    path = tmp_path / ("x" * 300 if kind == "long" else "list.csv")
    put(kind, path)
    for read in (scan, read_retrieval, find_images):
        with pytest.raises(DataError):
            read(path)


@pytest.mark.parametrize("part", ["pipe", "device"])
@pytest.mark.parametrize("name", [name for name in TREES if name != "webdataset"])
def test_no_published_list_is_waited_for(tmp_path, name, part):
    tree = TREES[name](tmp_path / "data")
    folder = tree.root if tree.root.is_dir() else tree.root.parent
    for needed in tree.needed:
        if (folder / needed).is_dir():
            continue
        (folder / needed).unlink()
        if part == "pipe":
            os.mkfifo(folder / needed)
        else:
            (folder / needed).symlink_to("/dev/zero")
    for read in (scan, find_images, task_of):
        try:
            read(tree.root)
        except DataError:
            continue


@pytest.mark.parametrize(
    "line", ["{", "[]", "7", '{"file_name": 7}', '{"file_name": "a.png", "file_name": "b.png"}']
)
def test_a_line_of_json_that_is_no_image_is_told_by_its_number(listed, line):
    file = listed(f'{{"file_name": "a.png", "label": "x"}}\n{line}\n', "metadata.jsonl")
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 2"):
        scan(file.parent)


def test_json_without_end_is_refused(listed):
    text = '{"images": ' + "[" * 100_000
    with pytest.raises(DataError, match="nested more than"):
        scan(listed(text, "labels.json"))
    twice = json.dumps({"images": [], "annotations": [], "categories": []})
    with pytest.raises(DataError, match="stands twice"):
        scan(listed(twice[:-1] + ', "images": []}', "labels.json"))


def test_what_no_reader_has_foreseen_is_an_error_of_the_data(tmp_path, monkeypatch):
    root = TREES["dtd"](tmp_path / "data").root

    def fail(*_):
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr("covtool.data.datasets.published.oxford.chosen_split", fail)
    with pytest.raises(DataError, match="is not as dtd is") as caught:
        scan(root)
    assert caught.value.reason == "ZeroDivisionError: of nothing"


@pytest.mark.parametrize("mode", [0o755, 0o000, 0o444, 0o111])
@pytest.mark.parametrize("part", ["val/b", "val/b/deeper", "val", ""])
def test_a_folder_that_cannot_be_read_is_never_left_out(tmp_path, mode, part):
    """As another user, where the tests are run by one who may read everything."""
    root = write_classes(tmp_path / "data" / "train", {"a": 1, "b": 1}).parent
    write_classes(root / "val", {"a": 2, "b": 2})
    write_image(root / "val" / "b" / "deeper" / "x.png")
    (root / part).chmod(mode)
    try:
        outcome = as_nobody(lambda: len(scan(root).samples("val")), tmp_path)
    finally:
        (root / part).chmod(0o755)
    assert outcome in (("5",) if mode == 0o755 else ("DataError", "5"))


def as_nobody(work, folder) -> str:
    """What some work comes to in a process that has no rights beyond those of all."""
    for place in (folder, *folder.parents):
        if not place.stat().st_mode & 0o005 and place.owner() == "root" and os.geteuid() == 0:
            place.chmod(place.stat().st_mode | 0o055)
    answer, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which it does not use
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            text = str(work())
        except BaseException as problem:
            text = type(problem).__name__
        os.write(tell, text.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(answer) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text
