"""Arguments of a command become images, in order and one at a time."""

import io
import sys
import tarfile

import pytest
from images import write_image
from PIL import Image

from covtool.data.images.decoding import read_image
from covtool.errors import ArgumentError, DataError
from covtool.prediction.image_inputs import find_inputs, place_in

HERE = ("photos/1.png", "photos/a/2.png", "photos/a/b/3.png", "photos/c/4.png")


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    for number, name in enumerate(HERE):
        write_image(tmp_path / name, seed=number)
    (tmp_path / "photos/notes.txt").write_text("none")
    write_image(tmp_path / "photos/.hidden/5.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments):
    return [image.name for image in find_inputs(arguments)]


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("photos", HERE),
        ("photos/a", HERE[1:3]),
        ("photos/1.png", HERE[:1]),
        ("photos/*.png", HERE[:1]),
        ("photos/**/*.png", HERE),
        ("photos/**/b/*.png", HERE[2:3]),
        ("photos/[ac]/?.png", (HERE[1], HERE[3])),
        ("photos/*/*", (HERE[1], HERE[3])),
        ("**/3.png", HERE[2:3]),
    ],
)
def test_paths_are_those_that_were_given(argument, found):
    inputs = find_inputs([argument])
    assert [image.name for image in inputs] == list(found)
    assert inputs.count == len(found)
    assert all(read_image(place_in(image.place, ())).size == (20, 16) for image in inputs)


def test_arguments_are_taken_in_their_order():
    assert names("photos/c", "photos/1.png") == [HERE[3], HERE[0]]


def test_a_whole_path_is_a_pattern_too(photos):
    assert names(f"{photos}/photos/a/*.png") == [f"{photos}/{HERE[1]}"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("photos/list.txt", "a/2.png\n\n  c/4.png \n"),
        ("photos/list.csv", "path,label\na/2.png,x\nc/4.png,\n"),
        ("photos/list.tsv", "label\tfilename\nx\ta/2.png\ny\tc/4.png\n"),
    ],
)
def test_a_list_is_relative_to_its_folder(file, text, photos):
    (photos / file).write_text(text)
    inputs = find_inputs([file])
    assert [tuple(image) for image in inputs] == [
        ("a/2.png", "photos/a/2.png"),
        ("c/4.png", "photos/c/4.png"),
    ]
    assert inputs.count == 2


def test_paths_come_from_the_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("photos/1.png\nphotos/c/4.png\n"))
    inputs = find_inputs(["-"])
    assert inputs.count is None
    assert [image.name for image in inputs] == ["photos/1.png", "photos/c/4.png"]


def test_tar_files_need_no_labels(photos):
    (photos / "shards").mkdir()
    with tarfile.open(photos / "shards/any-000.tar", "w") as tar:
        tar.add("photos/1.png", "x/1.png")
        tar.add("photos/c/4.png", "4.png")
        tar.add("photos/notes.txt", "4.txt")
    inputs = find_inputs(["wds/shards"])
    places = [place_in(image.place, inputs.records) for image in inputs]
    assert [read_image(place).tobytes() for place in places] == [
        read_image(photos / name).tobytes() for name in ("photos/1.png", "photos/c/4.png")
    ]


def test_pictures_of_pillow_are_images():
    picture = Image.new("RGB", (4, 4))
    (image,) = find_inputs([picture])
    assert image.place is picture
    assert image.name == "[0]"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere", "There is no nowhere"),
        ("empty", "no images in empty"),
        ("photos/*.gif", r"The pattern photos/\*.gif matches no image"),
        ("photos/**/a/**/*.png", "more than once"),
        ("empty.txt", "lists no images"),
        ("gone.txt", "None of the 2 images"),
        ("web.txt", "lists addresses"),
        ("two.csv", "does not say which column"),
        ("net.pth", "neither a folder nor a list of images nor an image"),
        ("wds/empty", "no tar files"),
        ("nothing/*.png", "matches no image"),
    ],
)
def test_an_argument_without_images_is_an_error(argument, message, photos):
    (photos / "empty").mkdir()
    (photos / "empty.txt").write_text("\n \n")
    (photos / "gone.txt").write_text("a.png\nb.png\n")
    (photos / "web.txt").write_text("https://example.com/a.png\n")
    (photos / "two.csv").write_text("a,b\n1,2\n")
    (photos / "net.pth").write_bytes(b"weights")
    with pytest.raises(DataError, match=message):
        find_inputs(["photos", argument])


def test_nothing_and_the_standard_input_twice_are_refused():
    with pytest.raises(ArgumentError, match="no images"):
        find_inputs([])
    with pytest.raises(ArgumentError, match="given twice"):
        find_inputs(["-", "photos", "-"])


def test_a_link_that_leads_nowhere_is_an_image_of_a_pattern_and_of_a_folder(photos):
    (photos / "broken").mkdir()
    (photos / "broken" / "gone.png").symlink_to("nowhere.png")
    for argument in ("broken/*", "broken/**/*.png", "broken"):
        assert names(argument) == ["broken/gone.png"]


def test_a_list_is_not_kept_in_memory(photos):
    (photos / "many.txt").write_text("photos/1.png\n" * 100_000)
    images = iter(find_inputs(["many.txt"]))
    assert next(images).name == "photos/1.png"
