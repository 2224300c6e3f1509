"""Laws of the table of published layouts, each on a data set of a few images."""

import shutil
from pathlib import Path

import datasets
import pytest
from images import write_classes
from published_trees import RECORDS, TREES, Tree, aircraft, dtd, imagenette_csv, sun397

from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.published import PUBLISHED
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.forms import FORMS
from covtool.data.datasets.retrieval.reading import read_classes, read_retrieval, task_of
from covtool.data.images.boxed import BoxedImage
from covtool.data.images.decoding import read_image
from covtool.errors import ArgumentError, DataError
from covtool.specs import LayoutSpec, as_flag

DOCS = Path(__file__).parents[4] / "docs"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    """What `datasets` makes of parquet files stays in the folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def labels_in(layout: DataLayout, tree: Tree) -> dict[str, list[tuple[str, str]]]:
    folder = tree.root if tree.root.is_dir() else tree.root.parent
    return {
        own: sorted(
            (str(s.path.relative_to(folder)), layout.class_names[s.label])
            for s in layout.splits[key]
        )
        for key, own in layout.split_names.items()
    }


def expected(tree: Tree) -> dict[str, list[tuple[str, str]]]:
    return {split: sorted(listed) for split, listed in tree.splits.items()}


def test_every_row_has_a_data_set_to_be_tested_on() -> None:
    assert {*TREES} == {*PUBLISHED.names}


@pytest.mark.parametrize("name", TREES)
def test_each_layout_is_recognized_by_its_row_and_no_other(name, tmp_path) -> None:
    root = TREES[name](tmp_path / "data").root
    assert [row.name for row in PUBLISHED if row.fits(root)] == [name]
    general = ("csv", "folders")
    assert [row.name for row in FORMS if row.fits(root) and row.name not in general] == []
    assert task_of(root) == "classification"


@pytest.mark.parametrize("name", [name for name in TREES if name not in RECORDS])
def test_each_layout_has_its_images_classes_and_splits(name, tmp_path) -> None:
    tree = TREES[name](tmp_path / "data")
    layout = read_classes(tree.root)
    assert labels_in(layout, tree) == expected(tree)
    assert layout.class_names == tuple(sorted({c for s in tree.splits.values() for _, c in s}))
    assert set(layout.unlabeled) == set(tree.unlabeled)
    assert f"Read as {name}: {len(layout.class_names)} classes; images: " in layout.notes[0]


def test_tar_files_are_read_as_their_own_form_reads_them(tmp_path) -> None:
    root = TREES["webdataset"](tmp_path / "data").root
    layout, own = scan(root), scan(f"wds/{root}")
    assert (layout.kind, layout.class_names) == ("wds", ("0", "1"))
    assert [s.label for s in layout.samples("train")] == [s.label for s in own.samples("train")]
    assert "wds/" in layout.notes[1]


def test_tables_have_the_classes_and_splits_that_are_in_them(tmp_path) -> None:
    layout = scan(TREES["parquet"](tmp_path / "data").root)
    assert (layout.kind, layout.class_names) == ("hfds", ("albatross", "warbler"))
    assert layout.split_names == {"train": "train", "val": "test"}
    assert [s.label for s in layout.samples("train")] == [0, 1]
    assert read_image(layout.samples("val")[1].path).size == (20, 16)


@pytest.mark.parametrize("name", [name for name in TREES if name not in RECORDS])
def test_the_folder_that_an_archive_makes_may_be_around_it(name, tmp_path) -> None:
    tree = TREES[name](tmp_path / "data" / "unpacked")
    if not PUBLISHED[name].is_file:
        assert scan(tmp_path / "data").class_names == scan(tree.root).class_names
        assert f" in {tree.root}: " in scan(tmp_path / "data").notes[0]


@pytest.mark.parametrize("name", TREES)
def test_a_missing_part_is_named(name, tmp_path) -> None:
    tree = TREES[name](tmp_path / "data")
    folder = tree.root if tree.root.is_dir() else tree.root.parent
    row = PUBLISHED[name]
    for part in tree.needed:
        aside = tmp_path / "aside"
        shutil.move(folder / part, aside)
        if row.fits(tree.root):
            with pytest.raises(DataError, match=Path(part).name.replace(".", r"\.")):
                scan(tree.root)
        shutil.move(aside, folder / part)
    scan(tree.root)


@pytest.mark.parametrize("name", TREES)
def test_nothing_outside_of_the_data_set_is_read(name, tmp_path) -> None:
    tree = TREES[name](tmp_path / "data")
    folder = tree.root if tree.root.is_dir() else tree.root.parent
    layout = scan(tree.root)
    if layout.has_files:
        for samples in layout.splits.values():
            assert all(s.path.resolve().is_relative_to(folder.resolve()) for s in samples)


@pytest.mark.parametrize("row", [*PUBLISHED], ids=lambda row: row.name)
def test_the_docs_have_the_table(row) -> None:
    options = " ".join(f"`{as_flag(option)}`" for option in row.options) or "-"
    cells = (f"`{row.name}`", row.summary, row.splits, options, row.source)
    assert f"| {' | '.join(cells)} |" in (DOCS / "data.md").read_text()


@pytest.mark.parametrize("row", [*FORMS], ids=lambda row: row.name)
def test_the_docs_name_every_form_for_retrieval(row) -> None:
    assert f"| `{row.name}` |" in (DOCS / "retrieval.md").read_text()


@pytest.mark.parametrize("name", TREES)
def test_an_option_that_says_nothing_is_refused(name, tmp_path) -> None:
    root = TREES[name](tmp_path / "data").root
    asked = {"crop": "boxes", "labels": "nonsense", "data_split": 99, "class_folders": "inner"}
    for option, value in asked.items():
        if option != "crop" or option not in PUBLISHED[name].options:
            with pytest.raises((ArgumentError, DataError)):
                scan(root, choice=LayoutSpec(**{option: value}))


@pytest.mark.parametrize(
    ("maker", "option", "values"),
    [
        (aircraft, "labels", ("variant", "family")),
        (dtd, "data_split", (1, 2, 10)),
        (sun397, "data_split", (1, 2)),
        (imagenette_csv, "labels", ("noisy_labels_0", "noisy_labels_50")),
    ],
)
def test_options_choose_labels_and_splits(maker, option, values, tmp_path) -> None:
    for value in values:
        tree = maker(tmp_path / str(value), value)
        layout = scan(tree.root, choice=LayoutSpec(**{option: value}))
        assert labels_in(layout, tree) == expected(tree)


def test_pets_are_breeds_or_species(tmp_path) -> None:
    root = TREES["oxford-pets"](tmp_path).root
    layout = scan(root, choice=LayoutSpec(labels="species"))
    assert layout.class_names == ("cat", "dog")
    assert all(
        ("cat" if s.path.name.startswith("A") else "dog") == layout.class_names[s.label]
        for s in layout.samples("train")
    )


BOXES = {
    "cub-200-2011": (2, 3, 12, 15),
    "nabirds": (2, 3, 12, 15),
    "stanford-cars": (2, 3, 12, 15),
    "stanford-cars-list": (2, 3, 12, 15),
    "fgvc-aircraft": (1, 2, 10, 12),
    "stanford-dogs": (2, 3, 12, 15),
}


def test_every_layout_with_boxes_is_tested() -> None:
    assert set(BOXES) == {row.name for row in PUBLISHED if "crop" in row.options}


@pytest.mark.parametrize("name", BOXES)
def test_boxes_cut_the_same_pixels_out_of_the_same_images(name, tmp_path) -> None:
    root = TREES[name](tmp_path).root
    whole, cut = scan(root), scan(root, choice=LayoutSpec(crop="boxes"))
    assert cut.class_names == whole.class_names
    assert not cut.has_files
    for split in whole.splits:
        pairs = zip(whole.samples(split), cut.samples(split), strict=True)
        for image, part in pairs:
            assert isinstance(part.path, BoxedImage)
            assert (part.path.path, part.label) == (image.path, image.label)
            assert (
                read_image(part.path).tobytes()
                == read_image(image.path).crop(BOXES[name]).tobytes()
            )


def test_a_published_data_set_can_be_split_by_class_for_a_search(tmp_path) -> None:
    root = TREES["cub-200-2011"](tmp_path).root
    layout = read_retrieval(root, test_classes=0.5)
    assert {s.identity for s in layout.train} == {"001.Black_footed_Albatross"}
    assert {s.identity for s in layout.query} == {"002.Laysan_Albatross"}
    assert len(layout.train) == len(layout.query) == 4


def test_a_list_of_other_things_beside_class_folders_is_left_alone(tmp_path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    for header in ("title,author", "file_name,caption"):
        (tmp_path / "metadata.csv").write_text(f"{header}\na/000.png,words\n")
        assert scan(tmp_path).class_names == ("a", "b")


def test_labels_may_be_in_a_column_of_another_name(tmp_path) -> None:
    root = TREES["imagefolder"](tmp_path).root
    for file in root.glob("*/metadata.csv"):
        file.write_text(file.read_text().replace("label", "kind"))
    assert scan(root, choice=LayoutSpec(labels="kind")).class_names == ("a", "b")


def test_birds_of_one_name_are_told_apart_by_their_number(tmp_path) -> None:
    root = TREES["nabirds"](tmp_path).root
    (root / "classes.txt").write_text("0 Birds\n817 Tern\n819 Tern\n")
    assert scan(root).class_names == ("817 Tern", "819 Tern")


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_a_list_are_named_by_the_names_beside_it(first, tmp_path) -> None:
    names = ("bun", "pie")
    write_classes(tmp_path, dict.fromkeys(names, 1))
    lines = (f"{name}/000.png {first + k}" for k, name in enumerate(names))
    (tmp_path / "all.txt").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("\n".join(names))
    layout = scan(tmp_path / "all.txt")
    told = [(s.path.parent.name, layout.class_names[s.label]) for s in layout.samples("train")]
    assert told == [("bun", "bun"), ("pie", "pie")]
    assert f"from {first}" in layout.notes[1]


def test_cars_without_names_and_test_labels_are_trained_and_never_tested(tmp_path) -> None:
    root = TREES["stanford-cars"](tmp_path).root
    (root / "devkit" / "cars_meta.mat").unlink()
    (root / "cars_test_annos_withlabels.mat").unlink()
    layout = scan(root)
    assert (layout.class_names, len(layout.samples("train"))) == (("1", "2"), 4)
    assert any("numbers from 1" in note for note in layout.notes)
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat"):
        layout.evaluation_samples()
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat"):
        layout.samples("test")


def test_validation_images_of_imagenet_are_labeled_by_the_file_beside_them(tmp_path) -> None:
    place = TREES["imagenet-kaggle"](tmp_path / "kaggle").root
    root = shutil.move(place / "ILSVRC" / "Data" / "CLS-LOC", tmp_path / "flat")
    file = shutil.move(place / "LOC_val_solution.csv", root)
    samples, split = scan(root).evaluation_samples()
    assert (len(samples), split) == (4, "val")
    Path(file).unlink()
    with pytest.raises(DataError, match=r"The 4 images in .*val are not in class folders"):
        scan(root)


def test_the_devkit_of_imagenet_needs_its_own_order(tmp_path) -> None:
    root = TREES["imagenet-devkit"](tmp_path).root
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with pytest.raises(DataError, match=r"order of its own(.|\n)*meta\.mat"):
        scan(root)
