"""An audit says what a data set holds, and what is wrong with it."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from covtool.auditing import AuditRequest, audit, look_through, write_clean_list, write_image_table
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError, DataError
from covtool.reporting.data_page import write_data_page
from covtool.specs.auditing import AuditSpec


def picture(path, seed, *, size=(48, 40), **options):
    """Blobs of chance: pictures that a perceptual hash tells apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path, **options)
    return path


@pytest.fixture
def data(tmp_path):
    """Six images of two classes to train on, two to test on; nothing is wrong."""
    root, seed = tmp_path / "data", 0
    for split, count in (("train", 3), ("test", 1)):
        for name in ("ant", "bee"):
            for at in range(count):
                picture(root / split / name / f"{at}.png", seed := seed + 1)
    return root


def names(done):
    return {finding.name for finding in done.findings}


def of(done, name):
    return next(finding for finding in done.findings if finding.name == name)


def test_a_data_set_without_mistakes_has_no_leaks_and_no_problems(data):
    done = audit(AuditRequest(data=data))
    assert {finding.severity for finding in done.findings} <= {"remark"}
    assert done.splits == {"train": 6, "test": 2}
    assert [(one.name, one.images) for one in done.classes] == [("ant", (3, 1)), ("bee", (3, 1))]
    assert done.formats == {"PNG": 8}
    assert done.sizes.width == (48, 48, 48)
    assert done.sizes.height == (40, 40, 40)
    assert "train, test" in done.why


def test_a_class_that_a_split_lacks_is_said_once(data):
    shutil.rmtree(data / "test/bee")
    done = audit(AuditRequest(data=data))
    assert of(done, "untested-classes").examples == ("bee",)
    assert not [note for note in done.notes if "bee" in note]


def test_copies_across_splits_are_leaks_by_what_is_equal(data):
    shutil.copy(data / "train/ant/0.png", data / "test/ant/copy.png")
    Image.open(data / "train/ant/1.png").save(data / "test/ant/pixels.bmp")
    enlarged = Image.open(data / "train/bee/1.png").resize((96, 80))
    enlarged.save(data / "test/bee/near.jpg", quality=60)
    done = audit(AuditRequest(data=data))
    leaks = {leak.name: leak.count for leak in done.leaks}
    assert leaks == dict.fromkeys(
        ("bytes-across-splits", "pixels-across-splits", "near-across-splits"), 2
    )
    kinds = {tuple(one.path for one in group.images): group.kind for group in done.groups}
    assert kinds["train/ant/0.png", "test/ant/copy.png"] == "bytes"
    assert kinds["train/ant/1.png", "test/ant/pixels.bmp"] == "pixels"
    assert kinds["train/bee/1.png", "test/bee/near.jpg"] == "near"


def test_equal_images_are_reported_once_however_many_ways_they_are_equal(data):
    for at in range(3):
        shutil.copy(data / "train/ant/0.png", data / f"train/ant/copy{at}.png")
    (group,) = audit(AuditRequest(data=data)).groups
    assert group.kind == "bytes"
    assert len(group.images) == 4


def test_one_image_under_two_labels_is_a_problem(data):
    shutil.copy(data / "train/ant/0.png", data / "train/bee/9.png")
    finding = of(audit(AuditRequest(data=data)), "bytes-under-two-labels")
    assert finding.severity == "problem"
    assert "(ant)" in finding.examples[0]
    assert "(bee)" in finding.examples[0]


def test_broken_files_of_all_splits_are_named_at_once(data):
    for place in ("train/ant/0.png", "test/bee/0.png"):
        (data / place).write_bytes((data / place).read_bytes()[:60])
    done = audit(AuditRequest(data=data))
    assert [one.path for one in done.unreadable] == ["train/ant/0.png", "test/bee/0.png"]
    assert all(one.reason for one in done.unreadable)
    assert of(done, "unreadable").count == 2


def test_what_training_would_refuse_is_a_finding(data):
    (data / "train/wasp").mkdir()
    picture(data / "test/hornet/0.png", 99)
    with pytest.raises(DataError):
        scan(data)
    done = audit(AuditRequest(data=data))
    assert of(done, "empty-classes").examples == ("train/wasp",)
    assert of(done, "untrained-classes").examples == ("hornet",)
    assert "hornet" in of(done, "refused").text


def test_files_left_out_are_counted_with_the_reason(data):
    for name in ("a.heic", "b.heic", "c.eps", "d.xyz"):
        (data / "train/ant" / name).write_bytes(b"x")
    done = audit(AuditRequest(data=data))
    assert {suffix: count for suffix, (count, _) in done.left_out.items()} == {
        ".heic": 2,
        ".eps": 1,
        ".xyz": 1,
    }
    assert "HEIF" in done.left_out[".heic"][1]
    assert "Ghostscript" in done.left_out[".eps"][1]


def test_animations_turned_and_tiny_images_are_remarks(data):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(data / "train/ant/turned.jpg", 50, exif=exif.tobytes())
    picture(data / "train/ant/tiny.png", 51, size=(20, 60))
    frames = [Image.open(picture(data / f"{at}.png", at)) for at in (60, 61)]
    frames[0].save(data / "train/bee/film.gif", save_all=True, append_images=frames[1:])
    done = audit(AuditRequest(data=data))
    for name, path in (
        ("turned", "train/ant/turned.jpg"),
        ("tiny", "train/ant/tiny.png"),
        ("several-images-in-a-file", "train/bee/film.gif"),
    ):
        assert of(done, name).severity == "remark"
        assert of(done, name).examples == (path,)


def test_uneven_classes_are_said_by_their_ends(data):
    for at in range(30):
        picture(data / f"train/bee/more{at}.png", 100 + at)
    text = of(audit(AuditRequest(data=data)), "uneven-classes").text
    assert "'bee' has 33" in text
    assert "'ant' has 3" in text


def test_links_that_lead_back_are_found_and_not_followed(data):
    (data / "train/ant/again").symlink_to(data / "train")
    assert of(audit(AuditRequest(data=data)), "links-not-followed").count == 1


def test_a_quick_look_compares_files_and_decodes_no_pixel(data):
    shutil.copy(data / "train/ant/0.png", data / "test/ant/copy.png")
    (data / "train/bee/0.png").write_bytes((data / "train/bee/0.png").read_bytes()[:200])
    done = audit(AuditRequest(data=data, spec=AuditSpec(quick=True)))
    assert [leak.name for leak in done.leaks] == ["bytes-across-splits"]
    assert done.unreadable == ()
    assert done.sizes is not None
    assert any("no pixel was decoded" in note for note in done.notes)


def test_images_without_labels_are_looked_at_and_why_is_said(tmp_path):
    for at in range(3):
        picture(tmp_path / f"photos/{at}.png", at)
    done = audit(AuditRequest(data=tmp_path / "photos"))
    assert done.images == 3
    assert done.classes == ()
    assert {"refused", "unlabeled"} <= names(done)


def test_a_search_finds_copies_and_shared_identities(tmp_path):
    rows = ["path,identity,camera,split"]
    listed = ("a1train", "a2train", "b1query", "b2gallery", "c1query", "c2gallery", "a1gallery")
    for at, (identity, camera, *letters) in enumerate(listed):
        split = "".join(letters)
        picture(tmp_path / f"{at}.png", at)
        rows.append(f"{at}.png,{identity},{camera},{split}")
    shutil.copy(tmp_path / "2.png", tmp_path / "3.png")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    done = audit(AuditRequest(data=tmp_path / "list.csv"))
    assert done.task == "retrieval"
    assert done.cameras == 2
    assert {leak.name for leak in done.leaks} == {"bytes-across-splits", "shared-identities"}
    assert of(done, "shared-identities").examples == ("a",)


def test_the_clean_list_is_a_data_set_without_what_is_in_doubt(data, tmp_path):
    shutil.copy(data / "train/ant/0.png", data / "test/ant/copy.png")
    shutil.copy(data / "train/ant/2.png", data / "train/bee/9.png")
    (data / "train/bee/1.png").write_bytes(b"no image")
    before = sorted(path for path in data.rglob("*") if path.is_file())
    audited = look_through(AuditRequest(data=data))
    (tmp_path / "lists").mkdir()
    clean = write_clean_list(audited, tmp_path / "lists/clean.csv")
    assert clean.left_out == {
        "cannot be read": 1,
        "equal under different labels": 2,
        "copy in another split": 1,
    }
    layout = scan(clean.path)
    kept = {sample.path.resolve() for samples in layout.splits.values() for sample in samples}
    assert len(kept) == clean.images == len(before) - 4
    assert (data / "test/ant/copy.png").resolve() in kept  # of a leak, the copy to test on stays
    assert layout.class_names == ("ant", "bee")
    assert sorted(path for path in data.rglob("*") if path.is_file()) == before
    assert not audit(AuditRequest(data=clean.path)).leaks


def test_a_clean_list_says_which_classes_it_lost_and_refuses_to_be_empty(data, tmp_path):
    for at in range(3):
        (data / f"train/bee/{at}.png").write_bytes(b"x")
    clean = write_clean_list(look_through(AuditRequest(data=data)), tmp_path / "clean.csv")
    assert clean.notes == ("1 class of 'train' has no image left: bee.",)
    photos = tmp_path / "photos"
    picture(photos / "a.png", 1)
    with pytest.raises(ArgumentError, match=r"No image of .* is left: 1 no label"):
        write_clean_list(look_through(AuditRequest(data=photos)), tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_the_table_has_a_row_for_each_image(data, tmp_path):
    shutil.copy(data / "train/ant/0.png", data / "test/ant/copy.png")
    (data / "train/bee/1.png").write_bytes(b"no image")
    write_image_table(look_through(AuditRequest(data=data)), tmp_path / "images.csv")
    lines = (tmp_path / "images.csv").read_text().splitlines()
    assert len(lines) == 1 + 9
    assert "train/ant/0.png,train,ant,PNG,RGB,48,40,,,,,1,,,,,," in lines
    assert "not an image" in next(line for line in lines if "bee/1.png" in line)


def test_every_image_that_a_finding_counts_can_be_found_in_the_table(data, tmp_path):
    Image.fromarray(np.full((40, 48), 900, "int32"), "I").save(data / "train/ant/dim.tif")
    first, second = (Image.open(data / f"train/ant/{at}.png") for at in (0, 1))
    first.save(data / "train/bee/two.tif", save_all=True, append_images=[second])
    audited = look_through(AuditRequest(data=data))
    write_image_table(audited, tmp_path / "images.csv")
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, column in (
        ("nearly-black", "nearly_black"),
        ("several-images-in-a-file", "several_images"),
    ):
        found = [row["path"] for row in rows if row[column] == "yes"]
        assert found == list(of(audited.audit, name).examples)


def test_groups_have_one_number_in_the_table_and_on_the_page(data, tmp_path):
    for at in range(2):  # across splits: these come first, whatever their kind
        shutil.copy(data / f"train/ant/{at}.png", data / f"test/ant/copy{at}.png")
    for at in (0, 1):
        picture = Image.open(data / f"train/bee/{at}.png").resize((96, 80))
        picture.save(data / f"train/bee/near{at}.jpg", quality=60)
    audited = look_through(AuditRequest(data=data))
    assert len({group.kind for group in audited.audit.groups}) == 2
    write_data_page(audited, tmp_path / "page")
    with (tmp_path / "page/images.csv").open() as file:
        rows = list(csv.DictReader(file))
    for kind, column in (("bytes", "equal_files"), ("near", "alike")):
        with (tmp_path / f"page/tables/{kind}-copies.csv").open() as file:
            on_page = {row["image"]: row["group"] for row in csv.DictReader(file)}
        assert set(on_page.values()) == {"1", "2"}
        assert {row["path"]: row[column] for row in rows if row[column]} == on_page
