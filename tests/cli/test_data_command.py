"""`covtool data` as it is used."""

import json
import shutil

import pytest
from images import write_image
from in_process import covtool
from indexed_images import make_net
from rich.console import Console

from covtool.auditing import AuditRequest, audit
from covtool.data.datasets.reading import scan
from covtool.specs.auditing import AuditSpec
from covtool_cli import render
from covtool_cli.commands import data


@pytest.fixture
def leaking(tmp_path):
    """A data set with an image to train on that is tested on as well."""
    root = tmp_path / "toys"
    places = [
        f"{split}/{name}/{at}.png"
        for split, count in (("train", 4), ("val", 2))
        for name in ("ant", "bee")
        for at in range(count)
    ]
    for seed, place in enumerate(places):
        write_image(root / place, seed=seed)
    first = min((root / "train/ant").iterdir())
    shutil.copy(first, root / "val/ant" / f"copy{first.suffix}")
    return root


def test_a_leak_is_said_and_ends_a_strict_look_with_code_4(leaking):
    done = covtool("data", leaking, "--no-near")
    assert done.returncode == 0, done.stderr
    assert "leak: 2 images in 1 group across splits are equal, byte for byte" in done.stdout
    strict = covtool("data", leaking, "--no-near", "--strict")
    assert strict.returncode == 4
    assert "--write-clean" in strict.stderr


def test_a_clean_list_and_a_table_are_written_and_no_file_is_replaced(leaking, tmp_path):
    clean, table = tmp_path / "clean.csv", tmp_path / "images.csv"
    asked = ("data", leaking, "--no-near", "--write-clean", clean, "--csv", table, "--json")
    done = covtool(*asked)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["clean"]["left_out"] == {"copy in another split": 1}
    assert shown["audit"]["findings"][0]["name"] == "bytes-across-splits"
    assert sum(map(len, scan(clean).splits.values())) == 12
    assert len(table.read_text().splitlines()) == 14
    assert covtool(*asked).returncode == 2
    assert covtool("data", clean, "--no-near", "--strict").returncode == 0


def test_a_page_shows_the_copies_and_asks_for_nothing_outside(leaking, tmp_path):
    done = covtool("data", leaking, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report/index.html").read_text()
    assert "Equal files" in page
    assert page.count("data:image/jpeg;base64,") >= 2
    assert (tmp_path / "report/images.csv").exists()
    assert (tmp_path / "report/tables/findings.csv").exists()
    assert (tmp_path / "report/figures/classes.svg").exists()


def test_a_model_judges_labels_and_says_what_it_cannot_know(leaking, tmp_path):
    net = make_net(tmp_path / "net")
    asked = ("data", leaking, "--model", net, "-j", "0", "--no-near")
    done = covtool(*asked, "--suspect-margin", "0", "--json")
    assert done.returncode == 0, done.stderr
    audit = json.loads(done.stdout)["audit"]
    assert all(one["label"] != one["suggested"] for one in audit["suspects"])
    margins = [one["margin"] for one in audit["suspects"]]
    assert margins == sorted(margins, reverse=True)


def test_mistakes_are_refused_before_anything_is_read(leaking, tmp_path):
    assert covtool("data", tmp_path / "gone").returncode == 4
    assert covtool("data", leaking, "--csv", "images.txt").returncode == 2
    (tmp_path / "x.pth").touch()
    quick = covtool("data", leaking, "--quick", "--model", tmp_path / "x.pth")
    assert quick.returncode == 2
    assert "--quick" in quick.stderr


@pytest.fixture
def wrong(leaking, tmp_path):
    """A folder with everything that may be given by mistake."""
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.csv").write_text("keep")
    for name in ("a", "b"):
        (tmp_path / "junk" / name).mkdir(parents=True)
        (tmp_path / "junk" / name / "0.jpg").write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["file.txt"], 4, ("no folder, no list and no image", "covtool reads a folder")),
        (["empty"], 4, ("no images in empty", "covtool reads a folder")),
        (["toys", "--csv", "x.json"], 2, ("must end in .csv", "x.csv")),
        (["toys", "--write-clean", "x.txt"], 2, ("must end in .csv", "x.csv")),
        (["toys", "--write-clean", "old.csv"], 2, ("already exists", "--overwrite")),
        (["toys", "--write-clean", "gone/x.csv"], 2, ("no folder gone", "Make it first")),
        (["toys", "--report", "old.csv"], 2, ("is no folder", "another place")),
        (["toys", "--csv", "x.csv", "--write-clean", "x.csv"], 2, ("are both x.csv", "own")),
        (["toys", "-o", "x.csv"], 2, ("No such option", "")),
        (["toys", "--predictions", "gone.csv"], 4, ("gone.csv cannot be read", "")),
        (["toys", "--predictions", "empty"], 4, ("It is a folder", "")),
        (["junk", "--write-clean", "x.csv"], 2, ("No image of junk is left", "2 cannot be read")),
    ],
)
def test_mistakes_are_told_and_leave_nothing_behind(wrong, arguments, code, told):
    before = sorted(wrong.rglob("*"))
    done = covtool("data", *arguments, "--no-near", cwd=wrong)
    assert done.returncode == code
    assert all(text in " ".join(done.stderr.split()) for text in told)
    assert sorted(wrong.rglob("*")) == before
    assert (wrong / "old.csv").read_text() == "keep"


def test_images_of_which_none_can_be_read_are_a_finding(wrong):
    done = covtool("data", "junk", "--no-near", cwd=wrong)
    assert done.returncode == 0
    assert "problem: 2 images cannot be read." in done.stdout


@pytest.mark.parametrize(("width", "is_cut"), [(80, True), (200, False)])
def test_the_table_of_classes_keeps_to_the_width(tmp_path, monkeypatch, capsys, width, is_cut):
    name = "Chevrolet_Silverado_2500HD_Regular_Cab_2012_of_the_longest_name_in_the_data"
    names = [f"{name}_{end}" for end in ("a", "b")]
    for split in ("train", "val"):
        for at, own in enumerate(names):
            write_image(tmp_path / "cars" / split / own / f"{split}.png", seed=at)
    monkeypatch.setattr(
        render, "stdout", lambda: Console(width=width, highlight=False, force_terminal=False)
    )
    data._show_classes(audit(AuditRequest(data=tmp_path / "cars", spec=AuditSpec(near=False))))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert "┃ train ┃ val ┃" in shown.replace("  ", " ")
    assert (names[0] in shown) != is_cut
    assert all(f"_{end} " in shown for end in ("a", "b"))
    assert ("####" in shown) != is_cut
