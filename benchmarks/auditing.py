"""Labels in doubt and near duplicates: how many an audit finds, and how many it finds in error.

    python benchmarks/auditing.py MODEL --data cars30 [--also DIR ...] --output DIR
    python benchmarks/auditing.py --data cars30 [--also DIR ...] --output DIR

Part one exchanges 5 % of the labels at random, and says which share of them is among the first 5 %
and 10 % of the images, ordered by the margin of their left-out scores. Part two makes copies of
every eighth image, scaled, cropped and compressed, and says how many are found, by perceptual hash
and by embedding; and which pairs of the data sets as they are would be found. Features and copies
are kept in DIR, from where the command goes on.

Without MODEL, which pairs of all images of the data sets hashes find: pairs of two data sets, of
two classes of one, and of one class. DIR/pairs.csv names them, and DIR/pairs.png shows those of
two data sets or classes, to say which are one photograph after all.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from covtool.auditing.embeddings import alike_by_embedding, embed_images, nearest_others
from covtool.auditing.images import Images
from covtool.auditing.label_scores import left_out_scores, margins
from covtool.auditing.looking import Looks, look_at
from covtool.auditing.perceptual_hashes import close_pairs, thumbnails_agree
from covtool.data.datasets.survey import survey
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.model_request import ModelRequest
from covtool.processes import ALONE
from covtool.specs import FeatureSpec

EXCHANGED = 0.05
SEEDS = 5
EVERY = 8
BITS = (2, 4, 6, 8, 10)
SIMILARITIES = (0.9, 0.95, 0.97)
MARGINS = (0.2, 0.3, 0.4)
SIDE = 128  # pixels of a picture on the sheet of pairs
COPIES = ("scale50", "crop95", "crop90", "crop80", "jpeg50", "jpeg20")


def copy_of(image: Image.Image, kind: str) -> Image.Image:
    """Return an image scaled, cropped to its middle, or compressed, by a percentage."""
    word, percent = kind[:-2], int(kind[-2:])
    width, height = (max(1, side * percent // 100) for side in image.size)
    if word == "scale":
        return image.resize((width, height), Image.Resampling.BICUBIC)
    if word == "crop":
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=percent)
    return Image.open(stream).convert("RGB")


def features_of(extractor: FeatureExtractor, paths: Sequence[Path], file: Path) -> Tensor:
    """Return the features of images, those in the file or new ones."""
    if not file.exists():
        torch.save(embed_images(extractor, paths), file)
    return torch.load(file, weights_only=True)


def label_rows(features: Tensor, labels: Tensor, classes: int) -> None:
    """Print the share of exchanged labels that is found, seed by seed."""
    count = len(labels)
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(count, generator=generator)[: round(EXCHANGED * count)]
        others = torch.randint(1, classes, (len(chosen),), generator=generator)
        noisy = labels.clone()
        noisy[chosen] = (labels[chosen] + others) % classes
        wrong = torch.zeros(count, dtype=torch.bool)
        wrong[chosen] = True
        margin, _ = margins(left_out_scores(features, noisy, classes), noisy)
        order = margin.argsort(descending=True)
        found = [wrong[order[: round(share * count)]].sum() / wrong.sum() for share in (0.05, 0.1)]
        above = [(int((margin > m).sum()), int((wrong & (margin > m)).sum())) for m in MARGINS]
        cells = [f"{100 * share:.1f} %" for share in found] + [f"{b} of {a}" for a, b in above]
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)


def hash_row(name: str, original: Looks, places: Sequence[int], copied: Looks) -> str:
    """Return the share of copies that the hashes find, for each number of bits."""
    bits = np.bitwise_count(original.hashes[places] ^ copied.hashes)
    agree = [
        thumbnails_agree(original.thumbnails[at], small)
        for at, small in zip(places, copied.thumbnails, strict=True)
    ]
    shares = [100 * float(np.mean((bits <= most) & agree)) for most in BITS]
    return f"| {name} | " + " | ".join(f"{share:.1f} %" for share in shares)


def pairs_row(name: str, looks: Looks) -> str:
    """Return the numbers of pairs of a data set that hashes find, with and without the check."""
    close = list(close_pairs(looks.hashes * looks.hashed, max(BITS)))
    agree = [thumbnails_agree(looks.thumbnails[i], looks.thumbnails[j]) for i, j, _ in close]
    cells = [
        f"{sum(ok for ok, pair in zip(agree, close, strict=True) if pair[2] <= most)} "
        f"({sum(pair[2] <= most for pair in close)})"
        for most in BITS
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


@dataclass(frozen=True)
class Hashed:
    """Images that have a hash.

    Attributes:
        paths: Their files.
        sets: Name of each one's data set.
        labels: Its class, with that of its data set.
        hashes: Its hash.
        thumbnails: Its gray thumbnail.
    """

    paths: list[Path]
    sets: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray


def hashed_images(roots: Sequence[Path]) -> Hashed:
    """Return the images of data sets that have a hash: those that are not plain areas."""
    paths, sets, labels, hashes, thumbnails = [], [], [], [], []
    for root in roots:
        images = Images.of(survey(root))
        looks = look_at(images.paths)
        kept = np.flatnonzero(looks.hashed)
        paths += [images.paths[at] for at in kept]
        sets += [root.name] * len(kept)
        labels += [f"{root.name}/{images.class_names[images.labels[at]]}" for at in kept]
        hashes.append(looks.hashes[kept])
        thumbnails.append(looks.thumbnails[kept])
    joined = np.concatenate(hashes), np.concatenate(thumbnails)
    return Hashed(paths, np.array(sets), np.array(labels), *joined)


def kind_of(found: Hashed, i: int, j: int) -> str:
    """Return what two images have in common."""
    if found.sets[i] != found.sets[j]:
        return "two data sets"
    same = found.labels[i] == found.labels[j]
    return f"{found.sets[i]}, {'one class' if same else 'two classes'}"


def alarm_rows(found: Hashed, output: Path) -> None:
    """Print how many pairs of each kind hashes find, of how many there are."""
    close = list(close_pairs(found.hashes, max(BITS)))
    agree = [thumbnails_agree(found.thumbnails[i], found.thumbnails[j]) for i, j, _ in close]
    rows = [
        (kind_of(found, i, j), i, j, bits, ok)
        for (i, j, bits), ok in zip(close, agree, strict=True)
    ]
    total = {"two data sets": len(found.sets) * (len(found.sets) - 1) // 2}
    for name in dict.fromkeys(found.sets):
        own = found.labels[found.sets == name]
        every = len(own) * (len(own) - 1) // 2
        same = sum(n * (n - 1) // 2 for n in np.unique(own, return_counts=True)[1])
        total |= {f"{name}, two classes": every - same, f"{name}, one class": same}
        total["two data sets"] -= every
    print("pairs found within bits", BITS, "(without the check by thumbnails)")
    for kind, pairs in total.items():
        cells = []
        for most in BITS:
            near = [ok for name, _, _, bits, ok in rows if name == kind and bits <= most]
            cells.append(f"{sum(near)} ({len(near)})")
        print(f"| {kind} | {pairs:,} | {' | '.join(cells)} |", flush=True)
    with (output / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("kind", "first", "second", "bits", "thumbnails agree"))
        for kind, i, j, bits, ok in rows:
            writer.writerow((kind, found.paths[i], found.paths[j], bits, ok))
    alarms = [row for row in rows if not row[0].endswith("one class") and row[4]]
    sheet = Image.new("RGB", (4 * SIDE, max(1, -(-len(alarms) // 2)) * SIDE), "white")
    for place, (_, i, j, _, _) in enumerate(alarms):
        for column, at in enumerate((i, j)):
            picture = Image.open(found.paths[at]).convert("RGB").resize((SIDE - 4, SIDE - 4))
            sheet.paste(picture, ((2 * (place % 2) + column) * SIDE, place // 2 * SIDE))
    sheet.save(output / "pairs.png")


def main() -> None:
    """Measure, and print the rows of the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.model is None:
        alarm_rows(hashed_images([arguments.data, *arguments.also]), arguments.output)
        return
    request = ModelRequest(source=arguments.model, workers=0)
    cpu = torch.device("cpu")
    extractor = request.extractor(request.open(), FeatureSpec(), device=cpu, processes=ALONE)
    images = Images.of(survey(arguments.data))
    features = features_of(extractor, images.paths, arguments.output / "cars.pt")
    print("seed, in the first 5 %, 10 %, exchanged of those above the margin", MARGINS)
    label_rows(features, torch.from_numpy(images.labels).long(), len(images.class_names))
    print("copies, by hash within bits", BITS, "by embedding from", SIMILARITIES)
    places = list(range(0, len(images), EVERY))
    looks = look_at(images.paths)
    for kind in COPIES:
        folder = arguments.output / kind
        folder.mkdir(exist_ok=True)
        files = [folder / f"{at}.png" for at in places]
        for at, file in zip(places, files, strict=True):
            if not file.exists():
                copy_of(Image.open(images.paths[at]).convert("RGB"), kind).save(file)
        copied = features_of(extractor, files, arguments.output / f"{kind}.pt")
        similar = F.cosine_similarity(copied, features[places])
        shares = [f"{100 * float((similar >= s).double().mean()):.1f} %" for s in SIMILARITIES]
        print(
            hash_row(kind, looks, places, look_at(files)), "|", " | ".join(shares), "|", flush=True
        )
    nearest = nearest_others(features)
    print(
        "pairs as they are, by embedding:",
        *(f"{s}: {len(alike_by_embedding(nearest, s))}" for s in SIMILARITIES),
    )
    print("pairs as they are, within bits", BITS, "(without the check by thumbnails)")
    for root in (arguments.data, *arguments.also):
        seen = looks if root == arguments.data else look_at(Images.of(survey(root)).paths)
        print(pairs_row(root.name, seen), flush=True)


if __name__ == "__main__":
    main()
