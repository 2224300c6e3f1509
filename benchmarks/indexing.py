"""Time and memory of an index of Market-1501's size: made, changed, searched.

    python benchmarks/indexing.py [--passes 3]

Prints Markdown. Features are made up (persons around centers, in 64 dimensions that are mixed into
2,048), so that no network runs and the time is that of the index; each step runs in a process of
its own, whose peak memory is that of the whole process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

GALLERY, QUERIES, ADDED, PEOPLE, FEATURES = 15_913, 3_368, 1_000, 1_501, 2_048
LATENT, BATCH, K = 64, 256, 10


def features_of(first: int, count: int):
    """Features of images number `first` and so on, and a label for each."""
    import torch

    mixing = torch.randn(LATENT, FEATURES, generator=torch.Generator().manual_seed(0))
    centers = torch.randn(PEOPLE, LATENT, generator=torch.Generator().manual_seed(1))
    made = torch.Generator().manual_seed(2 + first)
    people = torch.randint(PEOPLE, (count,), generator=made)
    latent = centers[people] + 0.6 * torch.randn(count, LATENT, generator=made)
    noise = torch.randn(count, FEATURES, generator=made)
    return (latent @ mixing + noise).relu_(), people


class MadeUp:
    """Stands for an extractor: yields made-up features of as many images as are asked for."""

    num_features, device = FEATURES, "cpu"

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, samples, track) -> Iterator:
        """Yield features, batch by batch."""
        for start in range(0, len(samples), BATCH):
            yield features_of(self.first + start, min(BATCH, len(samples) - start))[0]


def labels_of(first: int, count: int) -> tuple:
    """Labels of images, with paths of a usual length."""
    from covtool.evaluation.features.table import ImageLabels

    return tuple(
        ImageLabels(f"bounding_box_test/{n:04}_c{n % 6 + 1}s1_{n:06}_00.jpg", str(n % PEOPLE), "")
        for n in range(first, first + count)
    )


def make(path: Path) -> None:
    """Write an index as `covtool index` does."""
    from covtool.indexing.index_record import IndexRecord
    from covtool.indexing.making import IndexMaking
    from covtool.progress import silent
    from covtool.specs import InputSpec, ModelSource

    record = IndexRecord(
        model=ModelSource(name="none"),
        fingerprint="0" * 64,
        feature="embedding",
        flip_test=False,
        layer="fc",
        input=InputSpec(size=(256, 128)),
        metric="cosine",
        folder="/",
        covtool_version="0",
    )
    IndexMaking(
        path=path,
        record=record,
        labels=labels_of(0, GALLERY),
        new=range(GALLERY),
        extractor=MadeUp(0),
        overwrite=True,
    ).write(silent)


def add(path: Path) -> None:
    """Add images as `covtool index --add` does."""
    from covtool.indexing.index_file import read_index
    from covtool.indexing.making import IndexMaking
    from covtool.progress import silent

    index = read_index(path)
    IndexMaking(
        path=path,
        record=index.record,
        labels=(*index.labels, *labels_of(GALLERY, ADDED)),
        kept=index,
        rows=range(len(index)),
        new=range(ADDED),
        extractor=MadeUp(GALLERY),
        overwrite=True,
    ).write(silent)


def remove(path: Path) -> None:
    """Remove the images that were added."""
    from covtool.indexing.changing import IndexChange, change_index

    names = tuple(Path("/", label.path) for label in labels_of(GALLERY, ADDED))
    change_index(IndexChange(index=path, remove=names))


def invert(path: Path) -> dict[str, object]:
    """Make an inverted file as `covtool index --faiss` does."""
    from covtool.indexing.changing import IndexChange, change_index
    from covtool.specs.indexing import IndexSpec

    made = change_index(IndexChange(index=path, spec=IndexSpec(faiss=True))).record.inverted_file
    size = path.with_name(made.file).stat().st_size
    return {"lists": made.lists, "probed": made.probed, "recall": made.recall, "bytes": size}


def search(path: Path, queries: int, **spec: object) -> list[list[int]]:
    """Read an index and search in it."""
    from covtool.evaluation.features.table import ImageLabels
    from covtool.indexing.index_file import read_index
    from covtool.indexing.search import find_in_index
    from covtool.specs.indexing import GallerySearchSpec

    asked = GallerySearchSpec(k=K, **spec)
    index = read_index(path, mapped=asked.backend == "faiss")
    features, _ = features_of(10**6, queries)
    labels = [ImageLabels(f"query/{n}.jpg") for n in range(queries)]
    return [found.places.tolist() for found in find_in_index(index, features, labels, asked)]


STEPS: dict[str, Callable[[Path], object]] = {
    f"make: {GALLERY:,} images": make,
    f"add {ADDED:,}": add,
    f"remove {ADDED:,}": remove,
    "search, exact: one query": lambda path: search(path, 1),
    f"search, exact: {QUERIES:,} queries": lambda path: search(path, QUERIES),
    "make the inverted file": invert,
    "search, faiss: one query": lambda path: search(path, 1, backend="faiss"),
    f"search, faiss: {QUERIES:,} queries": lambda path: search(path, QUERIES, backend="faiss"),
}


def run_step(name: str, path: Path) -> None:
    """Run a step in this process, and print seconds, peak memory and what came of it as JSON."""
    import resource

    import torch

    from covtool.indexing import changing, search  # noqa: F401  imports are not measured

    features_of(0, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, own = time.perf_counter(), time.process_time()
    found = STEPS[name](path)
    seconds, own = time.perf_counter() - start, time.process_time() - own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    measured = {
        "s": seconds,
        "cpu": own,
        "before": before * 1024,
        "peak": peak * 1024,
        "found": found,
    }
    print(json.dumps({**measured, "threads": torch.get_num_threads(), "torch": torch.__version__}))


def in_a_process(name: str, path: Path) -> dict[str, object]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, "--path", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def network_ms() -> float:
    """Milliseconds per image of ResNet-50 at 256x128, in batches of 32."""
    import torch

    from covtool.checkpoints.opening import open_model
    from covtool.evaluation.features.extractor import embeddings, find_feature_layer
    from covtool.specs import FeatureSpec

    opened = open_model("resnet50", from_scratch=True, input={"size": (256, 128)})
    layer = find_feature_layer(opened.model, opened.recipe.input, FeatureSpec())
    images = torch.randn(32, 3, 256, 128)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        list(embeddings(opened.model, [images], layer))
        times.append(1000 * (time.perf_counter() - start) / len(images))
    return median(times[1:])


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        run_step(asked.step, asked.path)
        return
    print("| step | s | s of all threads | memory of the step | of the whole process |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gallery.index")
        measured: dict[str, list[dict]] = {name: [] for name in STEPS}
        for _ in range(asked.passes):
            for name in STEPS:
                measured[name].append(in_a_process(name, path))
        size = path.stat().st_size
    for name, runs in measured.items():
        s, cpu, own, peak = (
            median(values)
            for values in (
                [run["s"] for run in runs],
                [run["cpu"] for run in runs],
                [run["peak"] - run["before"] for run in runs],
                [run["peak"] for run in runs],
            )
        )
        print(f"| {name} | {s:.2f} | {cpu:.2f} | {own / 1e6:,.0f} MB | {peak / 1e6:,.0f} MB |")
    last = {name: runs[-1]["found"] for name, runs in measured.items()}
    inverted = last["make the inverted file"]
    exact, other = (last[f"search, {kind}: {QUERIES:,} queries"] for kind in ("exact", "faiss"))
    shared = sum(len(set(a) & set(b)) for a, b in zip(exact, other, strict=True))
    first = next(iter(measured.values()))[0]
    print(f"\ntorch {first['torch']}, threads: {first['threads']}; median of {asked.passes}.")
    print(f"The index has {size / 1e6:,.0f} MB, its inverted file {inverted['bytes'] / 1e6:,.0f}.")
    print(
        f"{inverted['probed']} of {inverted['lists']} lists are looked into: recall@10 "
        f"{inverted['recall']:.4f} when it was made, {shared / K / QUERIES:.4f} of these queries."
    )
    print(f"ResNet-50 at 256x128 takes {network_ms():.0f} ms per image on this machine.")


if __name__ == "__main__":
    main()
