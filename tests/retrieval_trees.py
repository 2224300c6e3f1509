"""Tiny data sets for retrieval, in the forms in which they are published."""

from pathlib import Path
from zlib import crc32

from images import write_image

CSV_ROWS = (
    ("a/1.png", "ann", "c1", "train"),
    ("a/2.png", "ann", "c2", "train"),
    ("b/1.png", "bob", "c1", "train"),
    ("b/2.png", "bob", "c2", "train"),
    ("c/1.png", "cleo", "c1", "query"),
    ("d/1.png", "dan", "c1", "query"),
    ("c/2.png", "cleo", "c2", "gallery"),
    ("d/2.png", "dan", "c1", "gallery"),
    ("e/1.png", "eve", "c2", "gallery"),
)


def write_named(folder: Path, *names: str) -> None:
    for name in names:
        write_image(folder / name, seed=hash_of(name))


def write_market(root: Path) -> Path:
    """Two training identities; two queries, one of which only its own camera has seen again."""
    write_named(
        root / "bounding_box_train", *(f"000{p}_c{c}s1_0001_01.jpg" for p in "27" for c in "12")
    )
    write_named(root / "query", "0001_c1s1_000001_00.jpg", "0003_c2s3_000001_00.jpg")
    write_named(
        root / "bounding_box_test",
        "-1_c1s1_000401_03.jpg",
        "0000_c3s1_000401_03.jpg",
        "0001_c2s1_000301_00.jpg",
        "0003_c2s3_000301_00.jpg",
    )
    (root / "bounding_box_test" / "Thumbs.db").write_bytes(b"?")
    return root


def write_veri(root: Path) -> Path:
    write_named(root / "image_train", "0002_c001_00016450_0.jpg", "0004_c012_00016450_0.jpg")
    write_named(root / "image_query", "0001_c001_00016450_0.jpg")
    write_named(root / "image_test", "0001_c001_00016450_0.jpg", "0001_c020_00016460_0.jpg")
    write_named(root / "image_test", "0005_c003_00016470_0.jpg")
    return root


def write_msmt17(root: Path, *, train: str = "train", test: str = "test") -> Path:
    """Training and test identities are both numbered from 0."""
    lists = {
        "train": (
            train,
            ["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_05_0303noon_0001_0.jpg 1"],
        ),
        "val": (train, ["0001/0001_001_12_0303noon_0001_0.jpg 1"]),
        "query": (test, ["0000/0000_000_14_0303morning_0008_0.jpg 0"]),
        "gallery": (
            test,
            ["0000/0000_001_03_0303morning_0008_0.jpg 0", "0001/0001_001_03_0304noon_0008_0.jpg 1"],
        ),
    }
    for name, (folder, lines) in lists.items():
        write_named(root / folder, *(line.split()[0] for line in lines))
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_layumi(root: Path) -> Path:
    """Two trained identities, three images each, and one more to validate; junk and distractors."""
    folders = {"train": (2, 7), "val": (2, 7), "train_all": (2, 7), "query": (1, 3)}
    for split, identities in {**folders, "gallery": (1, 3, 0, -1)}.items():
        for number in identities:
            name = f"{number:04}" if number >= 0 else "-1"
            for k in range(1, 2 if split == "val" else 4):
                camera = k + (split == "gallery")
                file = f"{name}_c{camera}s1_{k:06}_01.jpg"
                write_named(root / split / name, file)
    return root


def write_plain(root: Path) -> Path:
    """Market-1501 in folders of other names."""
    write_market(root)
    for old, new in (("bounding_box_train", "train"), ("bounding_box_test", "gallery")):
        (root / old).rename(root / new)
    return root


def write_in_shop(root: Path) -> Path:
    lines = ["image_name item_id evaluation_status"]
    for item in range(4):
        uses = ("train", "train") if item < 2 else ("query", "gallery", "gallery")
        for number, use in enumerate(uses):
            path = f"img/WOMEN/Dresses/id_{item:08}/02_{number}_front.jpg"
            write_named(root / Path(path).parent, Path(path).name)
            lines.append(f"{path}  id_{item:08}  {use}")
    (root / "list_eval_partition.txt").write_text("\n".join([str(len(lines) - 1), *lines]) + "\n")
    return root


def write_vehicle_id(root: Path) -> Path:
    lists = root / "train_test_split"
    lists.mkdir(parents=True)
    for name, vehicles in (
        ("train_list", (1, 2)),
        ("test_list_800", (3, 4)),
        ("test_list_1600", (3, 5)),
    ):
        numbers = [(f"{10 * v + k:07}", v) for v in vehicles for k in range(2)]
        write_named(root / "image", *(f"{number}.jpg" for number, _ in numbers))
        (lists / f"{name}.txt").write_text("".join(f"{n} {v}\n" for n, v in numbers))
    return root


def write_products(root: Path) -> Path:
    number = 0
    for split, classes in (("train", (1, 2)), ("test", (3, 4))):
        lines = ["image_id class_id super_class_id path"]
        for product in classes:
            for k in range(2):
                number += 1
                write_named(root / "bicycle_final", f"{product}_{k}.JPG")
                lines.append(f"{number} {product} 1 bicycle_final/{product}_{k}.JPG")
        (root / f"Ebay_{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_csv(folder: Path, rows=CSV_ROWS, header: str = "path,identity,camera,split") -> Path:
    """The images beside a file that lists them."""
    for row in rows:
        write_image(folder / row[0], seed=hash_of(row[0]))
    file = folder / "people.csv"
    file.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return file


def hash_of(text: str) -> int:
    """A seed; the same in every process."""
    return crc32(text.encode())  # of the whole name: those of a data set end alike
