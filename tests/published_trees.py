"""Tiny data sets for classification as they are published, and what is in them."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from images import write_image

Listed = list[tuple[str, str]]
"""Images, relative to the folder, with the names of their classes."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A data set that was written.

    Attributes:
        root: What `--data` is given.
        splits: What is in it, by the data set's own names of its splits.
        needed: The files that it is read by, relative to the folder; without one, it is refused.
        unlabeled: Splits without labels.
    """

    root: Path
    splits: dict[str, Listed]
    needed: tuple[str, ...] = ()
    unlabeled: tuple[str, ...] = ()


_seed = iter(range(10**9))


def images(folder: Path, listed: Listed) -> Listed:
    """Write images of noise, each another one."""
    for path, _ in listed:
        write_image(folder / path, seed=next(_seed), size=(24, 24))
    return listed


def text(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def mat(file: Path, **variables: object) -> None:
    from scipy.io import savemat

    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, variables)


def cub(root: Path, *, extra: bool = False) -> Tree:
    """Classes are numbered from 1, and the first is not the first in `images.txt`."""
    birds = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    ids = [f"{k:02}a-{k}" if extra else str(k) for k in range(1, 9)]
    rows = [(n, birds[k % 2], "train" if k < 4 else "test") for k, n in enumerate(ids)]
    path = {n: f"{bird}/{bird[4:]}_{n}.jpg" for n, bird, _ in rows}
    images(root / "images", [(path[n], "") for n in ids])
    numbers = {birds[0]: "817" if extra else "1", birds[1]: "819" if extra else "2"}
    text(root / "images.txt", *(f"{n} {path[n]}" for n in ids))
    text(root / "image_class_labels.txt", *(f"{n} {numbers[bird]}" for n, bird, _ in rows))
    text(root / "train_test_split.txt", *(f"{n} {int(s == 'train')}" for n, _, s in rows))
    text(root / "bounding_boxes.txt", *(f"{n} 2.0 3.0 10.0 12.0" for n in ids))
    text(root / "classes.txt", "0 Birds", *(f"{n} {bird}" for bird, n in numbers.items()))
    (root / "parts").mkdir()
    text(root / "attributes" / "certainties.txt", "1 guessing")
    splits = {
        s: [(f"images/{path[n]}", b) for n, b, o in rows if o == s] for s in ("train", "test")
    }
    needed = ("image_class_labels.txt", "classes.txt", "images.txt", "train_test_split.txt")
    return Tree(root, splits, needed)


def nabirds(root: Path) -> Tree:
    text(root / "hierarchy.txt", "817 0", "819 0")
    return cub(root, extra=True)


CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")
BOX = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O")]


def _cars(file: Path, names: list[str], labeled: bool) -> None:
    fields = [*BOX, *([("class", "O")] if labeled else []), ("fname", "O")]
    rows = [(2, 3, 12, 15, *([1 + k % 2] if labeled else []), name) for k, name in enumerate(names)]
    mat(file, annotations=np.array(rows, dtype=fields)[None])


def stanford_cars(root: Path) -> Tree:
    names = [f"{k:05}.jpg" for k in range(1, 5)]
    splits = {}
    for split in ("train", "test"):
        listed = [(f"cars_{split}/{n}", CARS[k % 2]) for k, n in enumerate(names)]
        splits[split] = images(root, listed)
    _cars(root / "devkit" / "cars_train_annos.mat", names, labeled=True)
    _cars(root / "devkit" / "cars_test_annos.mat", names, labeled=False)
    _cars(root / "cars_test_annos_withlabels.mat", names, labeled=True)
    mat(root / "devkit" / "cars_meta.mat", class_names=np.array(CARS, dtype=object)[None])
    return Tree(root, splits, ("cars_train/00001.jpg", "cars_test/00003.jpg"))


def stanford_cars_list(root: Path) -> Tree:
    names = [f"car_ims/{k:06}.jpg" for k in range(1, 9)]
    images(root, [(name, "") for name in names])
    fields = [("relative_im_path", "O"), *BOX, ("class", "O"), ("test", "O")]
    rows = [(name, 2, 3, 12, 15, 1 + k % 2, int(k > 3)) for k, name in enumerate(names)]
    file = root / "cars_annos.mat"
    mat(
        file,
        annotations=np.array(rows, dtype=fields)[None],
        class_names=np.array(CARS, dtype=object)[None],
    )
    labeled = [(name, CARS[k % 2]) for k, name in enumerate(names)]
    return Tree(root, {"train": labeled[:4], "test": labeled[4:]}, ("car_ims/000001.jpg",))


AIRCRAFT = {
    "variant": ("707-320", "Boeing 717"),
    "family": ("Boeing 707", "Boeing 717"),
    "manufacturer": ("Boeing", "Boeing"),
}


def aircraft(root: Path, level: str = "variant") -> Tree:
    names = {
        s: [f"{k:07}" for k in r] for s, r in zip(SPLITS, ((1, 2), (3, 4), (5, 6)), strict=True)
    }
    for every in names.values():
        images(root / "data" / "images", [(f"{name}.jpg", "") for name in every])
    for kind, labels in AIRCRAFT.items():
        for split, every in names.items():
            lines = (f"{name} {labels[k]}" for k, name in enumerate(every))
            text(root / "data" / f"images_{kind}_{split}.txt", *lines)
    lines = (f"{name} 2 3 10 12" for every in names.values() for name in every)
    text(root / "data" / "images_box.txt", *lines)
    splits = {
        split: [(f"data/images/{n}.jpg", AIRCRAFT[level][k]) for k, n in enumerate(every)]
        for split, every in names.items()
    }
    return Tree(root, splits, tuple(f"data/images_{level}_{s}.txt" for s in ("train", "test")))


SPLITS = ("train", "val", "test")


def pets(root: Path) -> Tree:
    breeds = ("Abyssinian", "american_bulldog")
    splits = {}
    for split, numbers in (("trainval", (1, 2)), ("test", (3, 4))):
        lines, listed = [], []
        for kind, breed in enumerate(breeds, start=1):
            for number in numbers:
                lines.append(f"{breed}_{number} {kind} {kind} 1")
                listed.append((f"images/{breed}_{number}.jpg", breed))
        text(root / "annotations" / f"{split}.txt", *lines)
        splits["train" if split == "trainval" else split] = images(root, listed)
    write_image(root / "annotations" / "trimaps" / "Abyssinian_1.png")
    return Tree(root, splits, ("annotations/test.txt", "images/Abyssinian_3.jpg"))


def flowers(root: Path) -> Tree:
    labels = [77, 3, 77, 3, 77, 3]
    images(root, [(f"jpg/image_{k:05}.jpg", "") for k in range(1, 7)])
    mat(root / "imagelabels.mat", labels=np.array(labels)[None])
    numbers = {"train": (1, 2), "val": (3, 4), "test": (5, 6)}
    keys = {"train": "trnid", "val": "valid", "test": "tstid"}
    mat(root / "setid.mat", **{keys[s]: np.array(n)[None] for s, n in numbers.items()})
    splits = {
        split: [(f"jpg/image_{n:05}.jpg", str(labels[n - 1])) for n in every]
        for split, every in numbers.items()
    }
    return Tree(root, splits, ("setid.mat", "imagelabels.mat"))


def food(root: Path) -> Tree:
    splits = {}
    for split, numbers in (("train", (1001, 1002)), ("test", (1003,))):
        table = {dish: [f"{dish}/{n}" for n in numbers] for dish in ("apple_pie", "waffles")}
        text(root / "meta" / f"{split}.json", json.dumps(table))
        text(root / "meta" / f"{split}.txt", *(n for names in table.values() for n in names))
        listed = [(f"images/{n}.jpg", dish) for dish, names in table.items() for n in names]
        splits[split] = images(root, listed)
    text(root / "meta" / "classes.txt", "apple_pie", "waffles")
    return Tree(root, splits, ("images/waffles/1003.jpg",))


def dtd(root: Path, number: int = 1) -> Tree:
    names = [f"{kind}/{kind}_{k:04}.jpg" for kind in ("banded", "blotchy") for k in range(6)]
    images(root / "images", [(name, "") for name in names])
    splits: dict[str, Listed] = {}
    for turn in range(1, 11):
        for place, split in enumerate(SPLITS):
            chosen = [n for k, n in enumerate(names) if (k + turn) % 3 == place]
            text(root / "labels" / f"{split}{turn}.txt", *chosen)
            if turn == number:
                splits[split] = [(f"images/{n}", n.partition("/")[0]) for n in chosen]
    return Tree(root, splits, ("labels/train1.txt", "labels/val1.txt", "labels/test1.txt"))


def _coco(file: Path, listed: Listed, ids: dict[str, int]) -> None:
    table = {
        "info": {},
        "images": [{"id": 100 + k, "file_name": path} for k, (path, _) in enumerate(listed)],
        "categories": [
            {"id": number, "name": name, "supercategory": name.split()[0]}
            for name, number in ids.items()
        ],
    }
    if any(label for _, label in listed):
        table["annotations"] = [
            {"id": k, "image_id": 100 + k, "category_id": ids[label]}
            for k, (_, label) in enumerate(listed)
        ]
    text(file, json.dumps(table))


def inaturalist(root: Path) -> Tree:
    ids = {"Aves rubecula": 2761, "Insecta apis": 11}
    splits = {}
    for split in ("train", "val"):
        listed = [
            (f"train_val_images/{n.split()[0]}/{i}/{split}{k}.jpg", n)
            for n, i in ids.items()
            for k in range(2)
        ]
        splits[split] = images(root, listed)
        _coco(root / f"{split}2017.json", listed, ids)
    _coco(root / "test2017.json", images(root, [("test2017/x.jpg", "")]), ids)
    return Tree(root, splits, unlabeled=("test",))


def coco_file(root: Path) -> Tree:
    listed = images(root, [("images/1.jpg", "cat"), ("images/2.jpg", "dog")])
    _coco(root / "labels.json", listed, {"cat": 1, "dog": 2})
    return Tree(root / "labels.json", {"all": listed}, ("images/1.jpg",))


def places(root: Path) -> Tree:
    names = {"airfield": 0, "apartment_building/outdoor": 1}
    lines = (f"/{n[0]}/{n} {i}" for n, i in names.items())
    text(root / "categories_places365.txt", *lines)
    train = [(f"data_256_standard/{n[0]}/{n}/0000000{k}.jpg", n) for n in names for k in "12"]
    val = [(f"val_256/Places365_val_0000000{k + 1}.jpg", n) for k, n in enumerate(names)]
    lists = {"places365_train_standard": train, "places365_val": val}
    for name, listed in lists.items():
        images(root, listed)
        below = (p.partition("/")[2] for p, _ in listed)
        slash = "/" if "train" in name else ""
        lines = (f"{slash}{p} {names[n]}" for p, (_, n) in zip(below, listed, strict=True))
        text(root / f"{name}.txt", *lines)
    needed = ("places365_train_standard.txt", "places365_val.txt", "val_256")
    return Tree(root, {"train": train, "val": val}, needed)


def caltech(root: Path) -> Tree:
    folder = "101_ObjectCategories"
    images(root, [(f"{folder}/BACKGROUND_Google/image_0001.jpg", "")])
    listed = [
        (f"{folder}/{name}/image_000{k}.jpg", name) for name in ("Faces", "ant") for k in "12"
    ]
    images(root, listed)
    mat(root / "Annotations" / "ant" / "annotation_0001.mat", box=np.arange(4))
    return Tree(root, {"all": listed})


def sun397(root: Path, number: int = 1) -> Tree:
    names = ("/a/abbey", "/a/apse/indoor")
    text(root / "SUN397" / "ClassName.txt", *names)
    splits: dict[str, Listed] = {}
    for split in ("Training", "Testing"):
        for turn in (1, 2):
            paths = [f"{name}/sun_{split[:2].lower()}{turn}{k}.jpg" for name in names for k in "ab"]
            images(root, [(f"SUN397{path}", "") for path in paths])
            text(root / f"{split}_{turn:02}.txt", *paths)
            if turn == number:
                listed = [(f"SUN397{p}", p[3:].rpartition("/")[0]) for p in paths]
                splits[split.removesuffix("ing").lower()] = listed
    return Tree(root, splits, ("Testing_01.txt",))


def dogs(root: Path) -> Tree:
    breeds = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel")
    splits = {}
    for split, number in (("train", 7), ("test", 8)):
        paths = [f"{b}/{b.partition('-')[0]}_{number}.jpg" for b in breeds]
        mat(root / f"{split}_list.mat", file_list=np.array(paths, dtype=object)[:, None])
        splits[split] = images(root, [(f"Images/{p}", p.partition("/")[0]) for p in paths])
        for path in paths:
            box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>15</ymax></bndbox>"
            annotation = f"<annotation><object>{box}</object></annotation>"
            text(root / "Annotation" / path.removesuffix(".jpg"), annotation)
    return Tree(root, splits, ("test_list.mat",))


WNIDS = ("n01443537", "n01629819")


def tiny_imagenet(root: Path) -> Tree:
    train = [(f"train/{w}/images/{w}_{k}.JPEG", w) for w in WNIDS for k in range(2)]
    images(root, train)
    for wnid in WNIDS:
        text(root / "train" / wnid / f"{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t10\t63\t58")
    val = [(f"val/images/val_{k}.JPEG", WNIDS[1 - k]) for k in range(2)]
    images(root, val)
    lines = (f"{Path(p).name}\t{w}\t0\t32\t44\t62" for p, w in val)
    text(root / "val" / "val_annotations.txt", *lines)
    images(root, [("test/images/test_0.JPEG", "")])
    text(root / "wnids.txt", *WNIDS)
    text(root / "words.txt", "n00001740\tentity")
    return Tree(root, {"train": train, "val": val}, ("val/images/val_1.JPEG",), ("test",))


def _imagenet(root: Path) -> dict[str, Listed]:
    train = [(f"train/{w}/{w}_{k}.JPEG", w) for w in WNIDS for k in range(2)]
    val = [(f"val/ILSVRC2012_val_{k + 1:08}.JPEG", WNIDS[1 - k % 2]) for k in range(4)]
    return {"train": images(root, train), "val": images(root, val)}


def imagenet_kaggle(root: Path) -> Tree:
    place = "ILSVRC/Data/CLS-LOC"
    splits = _imagenet(root / place)
    images(root / place, [("test/ILSVRC2012_test_00000001.JPEG", "")])
    lines = [f"{Path(p).stem},{w} 1 1 9 9 {w} 2 2 5 5 " for p, w in splits["val"]]
    text(root / "LOC_val_solution.csv", "ImageId,PredictionString", *reversed(lines))
    text(root / "LOC_synset_mapping.txt", *(f"{w} something" for w in WNIDS))
    placed = {s: [(f"{place}/{p}", w) for p, w in every] for s, every in splits.items()}
    return Tree(root, placed, (), ("test",))


def imagenet_devkit(root: Path) -> Tree:
    """The devkit numbers the classes in another order than their WordNet ids."""
    splits = _imagenet(root)
    ids = {wnid: number for number, wnid in enumerate(reversed(WNIDS), start=1)}
    devkit = root / "ILSVRC2012_devkit_t12" / "data"
    numbers = (str(ids[w]) for _, w in splits["val"])
    text(devkit / "ILSVRC2012_validation_ground_truth.txt", *numbers)
    rows = np.array(
        [(number, wnid, "words") for wnid, number in ids.items()],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")],
    )
    mat(devkit / "meta.mat", synsets=rows[:, None])
    return Tree(root, splits, ("ILSVRC2012_devkit_t12/data/meta.mat",))


def imagenette_csv(root: Path, column: str = "noisy_labels_0") -> Tree:
    other = dict(zip(WNIDS, reversed(WNIDS), strict=True))
    splits: dict[str, Listed] = {}
    lines = ["path,noisy_labels_0,noisy_labels_50,is_valid"]
    for split in ("train", "val"):
        listed = images(root, [(f"{split}/{w}/{w}_{k}.JPEG", w) for w in WNIDS for k in "12"])
        noisy = split == "train"
        lines += [f"{p},{w},{other[w] if noisy else w},{not noisy}" for p, w in listed]
        wrong = noisy and column == "noisy_labels_50"
        splits[split] = [(p, other[w] if wrong else w) for p, w in listed]
    file = text(root / "noisy_imagenette.csv", *lines)
    return Tree(file, splits, ("train/n01443537/n01443537_1.JPEG",))


def path_list(root: Path) -> Tree:
    listed = images(
        root, [(f"food/{n}/{k}.jpg", c) for c, n in (("1", "pie"), ("2", "bun")) for k in "12"]
    )
    file = text(root / "ct_train.txt", *(f"{path} {label}" for path, label in listed))
    return Tree(file, {"all": listed}, ("food/pie/1.jpg",))


def path_lists(root: Path) -> Tree:
    splits = {}
    for split in SPLITS:
        listed = [(f"images/{split} {k}.jpg", str(k)) for k in range(3)]
        splits[split] = images(root, listed)
        text(root / f"{split}.txt", *(f"{p.partition('/')[2]} {c}" for p, c in listed))
    return Tree(root, splits, ("images/test 2.jpg",))


def image_folder(root: Path) -> Tree:
    splits = {}
    for split in ("train", "test"):
        listed = images(root, [(f"{split}/{k}.png", "ab"[k]) for k in range(2)])
        splits[split] = listed
        rows = ((Path(p).name, "words, more words", c) for p, c in listed)
        with (root / split / "metadata.csv").open("w", newline="") as out:
            csv.writer(out).writerows([("file_name", "text", "label"), *rows])
    return Tree(root, splits, ("train/0.png",))


def webdataset(root: Path) -> Tree:
    splits = {}
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}-0000.tar", "w") as tar:
            for k in range(2):
                image = write_image(root.parent / "scratch.png", seed=next(_seed)).read_bytes()
                for suffix, content in ((".png", image), (".cls", str(k).encode())):
                    member = tarfile.TarInfo(f"{split}{k}{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        splits[split] = [(f"{split}0", "0"), (f"{split}1", "1")]
    return Tree(root, splits)


def parquet(root: Path) -> Tree:
    import datasets

    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(2, BIRDS)})
    for split in ("train", "test"):
        scratch = [write_image(root.parent / "scratch.png", seed=next(_seed)) for _ in range(2)]
        rows = {"image": [{"bytes": p.read_bytes(), "path": p.name} for p in scratch]}
        table = datasets.Dataset.from_dict({**rows, "label": [0, 1]}, features=kinds)
        (root / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return Tree(root, {s: [("0", BIRDS[0]), ("1", BIRDS[1])] for s in ("train", "test")})


BIRDS = ["albatross", "warbler"]

TREES: dict[str, Callable[[Path], Tree]] = {
    "cub-200-2011": cub,
    "nabirds": nabirds,
    "stanford-cars": stanford_cars,
    "stanford-cars-list": stanford_cars_list,
    "fgvc-aircraft": aircraft,
    "oxford-pets": pets,
    "flowers-102": flowers,
    "food-101": food,
    "dtd": dtd,
    "coco": inaturalist,
    "coco-file": coco_file,
    "places365": places,
    "caltech": caltech,
    "sun397": sun397,
    "stanford-dogs": dogs,
    "tiny-imagenet": tiny_imagenet,
    "imagenet-kaggle": imagenet_kaggle,
    "imagenet-devkit": imagenet_devkit,
    "imagenette-csv": imagenette_csv,
    "path-list": path_list,
    "path-lists": path_lists,
    "imagefolder": image_folder,
    "webdataset": webdataset,
    "parquet": parquet,
}
"""By row of `covtool.data.datasets.published.PUBLISHED`."""
RECORDS = ("webdataset", "parquet")
"""Rows whose images are no files of their own."""
