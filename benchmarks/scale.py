"""What a million images and 100,000 classes take: seconds, peak memory, bytes of an image.

    python benchmarks/scale.py --work DIR --label NAME [--images N] [--only CASE ...] [--again]
    python benchmarks/scale.py --print

DIR gets a data set of tiny JPEG files of different bytes, in 1000 class folders and two splits; a
CSV list of them; tar files of the first 100,000. It stays for the next call; `--remove` deletes it.
Cases run in a process of their own, or one after the other where they need the same. Rows are added
to `benchmarks/results/scale.jsonl` as they come; those of the same label that are there already are
not measured again.
"""

import argparse
import csv
import gc
import io
import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "scale.jsonl"
CLASSES, HELD_OUT = 1000, 20  # every so many images of a class is one to validate on
MANY_CLASSES, MANY_IMAGES = 100_000, 200_000
SHARDED = 100_000
LONGEST_S, MOST_MEMORY = 1800, 8 << 30

Row = dict[str, Any]


# The data set


def jpegs(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield split, path below it and bytes of each image: the same pixels, another comment."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 120, 200)).save(buffer, "JPEG")
    start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    sizes = random.Random(0)
    for number in range(count):
        label, place = number % CLASSES, number // CLASSES
        split = "val" if place % HELD_OUT == 0 else "train"
        # Files of a camera have many sizes: so do these, of 8 to 1500 bytes more.
        comment = number.to_bytes(8, "big") + bytes(sizes.randrange(1500))
        length = (len(comment) + 2).to_bytes(2, "big")
        name = f"class_{label:04}/IMG_{place:08}.jpg"
        yield split, name, start + b"\xff\xfe" + length + comment + rest


def make_data(work: Path, count: int) -> None:
    """Write the folder, the list and the tar files, unless they are there."""
    if (work / "done").exists():
        return
    shutil.rmtree(work, ignore_errors=True)
    for split in ("train", "val"):
        for label in range(CLASSES):
            (work / "folder" / split / f"class_{label:04}").mkdir(parents=True)
    with (work / "list.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "label", "split"))
        for split, name, content in jpegs(count):
            place = f"{work}/folder/{split}/{name}"
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # quicker than `open`
            os.write(file, content)
            os.close(file)
            writer.writerow((f"folder/{split}/{name}", name.split("/")[0], split))
    (work / "done").touch()


def made_shards(work: Path, count: int = SHARDED) -> Path:
    """Write tar files of the first images, unless they are there; return their folder."""
    folder = work / "shards"
    if folder.exists():
        return folder
    folder.mkdir()
    with ExitStack() as held:
        tars = {
            split: held.enter_context(tarfile.open(folder / f"{split}-0000.tar", "w"))
            for split in ("train", "val")
        }
        for number, (split, name, content) in enumerate(jpegs(count)):
            label = str(int(name.split("/")[0][6:])).encode()
            for suffix, data in ((".jpg", content), (".cls", label)):
                member = tarfile.TarInfo(f"{number:08}{suffix}")
                member.size = len(data)
                tars[split].addfile(member, io.BytesIO(data))
    return folder


# Measuring


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def own_memory() -> int:
    """Return the bytes that this process shares with no other one."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def peak() -> int:
    """Return the most bytes that this process has had since `begin_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def begin_peak() -> None:
    """Let the peak begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def busy_s() -> float:
    """Return the seconds that processors have spent for this process and its children."""
    return sum(os.times()[:4])


def timed(work: Callable[[], Any]) -> tuple[Any, Row]:
    """Return what `work` returns, and its seconds, its growth of memory, and its peak."""
    before, start, busy = resident(), time.perf_counter(), busy_s()
    begin_peak()
    made = work()
    seconds, busy = time.perf_counter() - start, busy_s() - busy
    return made, {
        "seconds": round(seconds, 2),
        "cpu_s": round(busy, 2),
        "kept_mib": round((resident() - before) / 2**20, 1),
        "peak_mib": round((peak() - before) / 2**20, 1),
    }


@cache  # cases that follow each other in a process have the same
def scanned(place: Path) -> tuple[Any, Row]:
    """Scan a data set; return it and the row."""
    from covtool.data.datasets.reading import scan

    layout, row = timed(lambda: scan(place))
    images = sum(map(len, layout.splits.values()))
    return layout, {
        **row,
        "images": images,
        "bytes_per_image": round(row["kept_mib"] * 2**20 / images),
    }


def scan_folder(work: Path) -> Row:
    """Scan the folder."""
    return scanned(work / "folder")[1]


def scan_list(work: Path) -> Row:
    """Scan the CSV list."""
    return scanned(work / "list.csv")[1]


def scan_shards(work: Path) -> Row:
    """Go through the tar files of 100,000 images."""
    return scanned(Path(f"wds/{made_shards(work)}"))[1]


def image_list(work: Path) -> Row:
    """Read the list that a run has of its images."""
    from covtool.data.datasets.image_list import read_image_list, write_image_list

    file = work / "images.csv"
    layout, _ = scanned(work / "folder")
    start = time.perf_counter()
    write_image_list(file, layout, frozenset())
    seconds = time.perf_counter() - start
    del layout
    (layout, _), row = timed(lambda: read_image_list(file, work / "folder"))
    file.unlink()
    images = sum(map(len, layout.splits.values()))
    per_image = round(row["kept_mib"] * 2**20 / images)
    return {**row, "images": images, "bytes_per_image": per_image, "written_s": round(seconds, 2)}


def fingerprints(work: Path) -> Row:
    """Compute the fingerprints that a run has of its images."""
    from covtool.data.datasets.fingerprint import fingerprint

    layout, _ = scanned(work / "folder")
    return timed(lambda: [fingerprint(s, layout.root) for s in layout.splits.values()])[1]


def _dataset(work: Path) -> Any:
    from covtool.data.loading.image_dataset import ImageDataset

    layout, _ = scanned(work / "folder")
    return ImageDataset(layout.splits["train"], lambda image: image)


def fork_worker(work: Path) -> Row:
    """Touch every sample in a forked process, and see what it has copied of its parent."""
    dataset = _dataset(work)
    gc.collect()
    receiver, sender = os.pipe()
    if os.fork() == 0:
        before = own_memory()
        for number in range(len(dataset)):
            sample = dataset.samples[number]
            os.fspath(sample.path)
        os.write(sender, str(own_memory() - before).encode())
        os._exit(0)
    copied = int(os.read(receiver, 100))
    os.wait()
    return {"images": len(dataset), "copied_mib": round(copied / 2**20, 1)}


def spawn_worker(work: Path) -> Row:
    """Pickle the samples, as a process that is spawned gets them."""
    samples = _dataset(work).samples
    content, row = timed(lambda: pickle.dumps(samples))
    return {**row, "pickled_mib": round(len(content) / 2**20, 1)}


def epoch_order(work: Path) -> Row:
    """Draw an epoch's order and its first batch."""
    from covtool.data.loading.batch_sampler import BatchSampler
    from covtool.data.loading.samplers import RandomOrder

    labels = list(range(1_000_000))
    return timed(lambda: next(iter(BatchSampler(RandomOrder(labels, seed=0), batch_size=256))))[1]


def checks(work: Path) -> Row:
    """Check the paths of a data set that is scanned: images listed twice, and the like."""
    from covtool.data.datasets.hygiene import check_layout

    layout, _ = scanned(work / "folder")
    return timed(lambda: check_layout(layout))[1]


def equal_files(work: Path) -> Row:
    """Compare the files of the splits."""
    from covtool.data.datasets.duplicates import notes_on_equal_files

    layout, _ = scanned(work / "folder")
    notes, row = timed(lambda: notes_on_equal_files(layout))
    return {**row, "said": list(notes)}


def audit_quick(work: Path) -> Row:
    """Do `covtool data --quick`."""
    from covtool.auditing import AuditRequest, audit
    from covtool.specs.auditing import AuditSpec

    done, row = timed(lambda: audit(AuditRequest(data=work / "folder", spec=AuditSpec(quick=True))))
    return {**row, "images": done.images}


def audit_whole(work: Path) -> Row:
    """Do `covtool data`."""
    from covtool.auditing import AuditRequest, audit

    done, row = timed(lambda: audit(AuditRequest(data=work / "folder")))
    return {**row, "images": done.images, "said": list(done.notes)}


# First batches


class _EnoughError(Exception):
    """The first batch is there."""


def _watch() -> tuple[Any, list[tuple[str, float, float]]]:
    """Return an observer that ends a run at its first update, and its list of what came when."""
    from covtool.training.run.observer import SilentObserver

    start, busy, times = time.perf_counter(), busy_s(), []

    def at(text: str) -> None:
        now = round(time.perf_counter() - start, 2), round(busy_s() - busy, 2)
        times.append((text[:160], *now))

    class Watch(SilentObserver):
        def on_start(self, plan: Any) -> None:
            at("start of the run")

        def on_step(self, record: Any) -> None:
            at("first update")
            raise _EnoughError

        def on_note(self, text: str) -> None:
            at(text)

        def track(self, items: Any, description: str, total: int | None) -> Iterator[Any]:
            at(description)
            yield from items

    return Watch(), times


def _first_update(work: Path, data: Path) -> Row:
    from covtool.specs import FinetuneRequest, InputOverrides, TrainingSpec
    from covtool.training import finetune, resume_finetune

    output = work / "runs"
    shutil.rmtree(output, ignore_errors=True)
    request = FinetuneRequest(
        model="test_resnet",
        data=str(data),
        from_scratch=True,
        output=str(output),
        images=InputOverrides(img_size=32),
        training=TrainingSpec(epochs=1, batch_size=32, workers=2, device="cpu"),
    )
    watch, times = _watch()
    with suppress(_EnoughError):
        finetune(request, observer=watch)
    row = {"seconds": times[-1][1], "cpu_s": times[-1][2], "told": times}
    watch, times = _watch()
    folder = next((output / "finetune").iterdir())
    with suppress(_EnoughError):
        resume_finetune(folder, observer=watch)
    row |= {"resumed_s": times[-1][1], "resumed_cpu_s": times[-1][2], "told_resumed": times}
    shutil.rmtree(output)
    return {**row, "peak_mib": round(peak() / 2**20, 1)}


def first_update_folder(work: Path) -> Row:
    """Fine-tune on the folder up to the first update; resume up to the next one."""
    return _first_update(work, work / "folder")


def first_update_list(work: Path) -> Row:
    """The same on the CSV list."""
    return _first_update(work, work / "list.csv")


def first_update_shards(work: Path) -> Row:
    """The same on tar files of 100,000 images."""
    return _first_update(work, Path(f"wds/{made_shards(work)}"))


def _first_answer(work: Path, data: Path) -> Row:
    from covtool.evaluation.evaluate import EvaluationRequest, evaluate

    model = saved_model(work / "model.safetensors", [f"class_{n:04}" for n in range(CLASSES)])
    watch, times = _watch()

    def track(items: Any, description: str, total: int | None) -> Iterator[Any]:
        for number, item in enumerate(watch.track(items, description, total)):
            if description == "evaluating" and not number:
                watch.on_note("first batch")
                raise _EnoughError
            yield item

    with suppress(_EnoughError):
        evaluate(EvaluationRequest(source=str(model), data=data), track=track)
    row = {"seconds": times[-1][1], "cpu_s": times[-1][2], "told": times}
    return {**row, "peak_mib": round(peak() / 2**20, 1)}


def saved_model(file: Path, names: list[str]) -> Path:
    """Save a tiny random model with these classes, as if it were trained."""
    from covtool.backbones.create import create_model
    from covtool.checkpoints.model_file import save
    from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe

    if file.exists():
        return file
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=len(names))
    model.recipe = Recipe(
        base=base,
        num_classes=len(names),
        class_names=tuple(names),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    return save(model, file)


def first_answer_folder(work: Path) -> Row:
    """Evaluate on the folder up to the first batch."""
    return _first_answer(work, work / "folder")


def first_answer_list(work: Path) -> Row:
    """The same on the CSV list."""
    return _first_answer(work, work / "list.csv")


# 100,000 classes


def _answers() -> tuple[Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    right = torch.randint(MANY_CLASSES, (MANY_IMAGES,), generator=generator)
    other = torch.randint(MANY_CLASSES, (MANY_IMAGES,), generator=generator)
    is_right = torch.rand(MANY_IMAGES, generator=generator) < 0.7
    return right, torch.where(is_right, right, other)


def _result() -> Any:
    from covtool.evaluation.classification.accuracy import ClassificationResult
    from covtool.evaluation.classification.probabilities import ProbabilityFigures

    right, given = _answers()
    figures = ProbabilityFigures(temperature=1.0, nll=1.0, ece=1.0, adaptive_ece=1.0)
    return ClassificationResult(
        images=MANY_IMAGES,
        top_1=70.0,
        top_5=80.0,
        loss=1.0,
        images_per_s=1.0,
        class_names=tuple(f"class_{n:06}" for n in range(MANY_CLASSES)),
        targets=tuple(right.tolist()),
        predictions=tuple(given.tolist()),
        doubts=(0.5,) * MANY_IMAGES,
        probabilities=figures,
        at_temperature_1=figures,
    )


def classes_figures(work: Path) -> Row:
    """Compute the figures of each class, and their means with intervals."""
    from covtool.ops.class_figures import class_figures, macro_figures

    right, given = _answers()
    _, row = timed(lambda: class_figures(right, given, MANY_CLASSES))
    _, means = timed(lambda: macro_figures(right, given, MANY_CLASSES))
    return {**row, "intervals_s": means["seconds"], "intervals_peak_mib": means["peak_mib"]}


def classes_confused(work: Path) -> Row:
    """Find the most confused pairs."""
    result = _result()
    return timed(lambda: (result.per_class, result.most_confused(5)))[1]


def classes_matrix(work: Path) -> Row:
    """Ask for the matrix of confusions."""
    result = _result()
    return timed(result.confusion_matrix)[1]


def classes_counting(work: Path) -> Row:
    """Evaluate 2048 images, whose logits would take 0.8 GB if they were kept."""
    import torch

    from covtool.evaluation.classification.accuracy import evaluate_classification

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, MANY_CLASSES))
    batch = (torch.rand(32, 3, 2, 2), torch.arange(32))
    evaluate_classification(model, [batch])
    done, row = timed(lambda: evaluate_classification(model, [batch] * 64))
    return {**row, "images": done.images}


def _command(*words: str) -> tuple[subprocess.CompletedProcess[bytes], Row]:
    program = Path(sys.executable).with_name("covtool")
    start = time.perf_counter()
    done = subprocess.run([program, *words], capture_output=True, check=False)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": round(children.ru_maxrss / 2**10, 1),
        "status": done.returncode,
        "said": done.stderr.decode()[-600:],
    }


def _many_classes(work: Path) -> tuple[Path, Path]:
    """Return a model of 100,000 classes, and a list of 5000 images of as many of them."""
    names = [f"class_{n:06}" for n in range(MANY_CLASSES)]
    model, file = saved_model(work / "many.safetensors", names), work / "many.csv"
    images = sorted((work / "folder" / "val").glob("*/*.jpg"))[:5000]
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("path", "label"))
        rows.writerows((image.relative_to(work), names[20 * at]) for at, image in enumerate(images))
    return model, file


def classes_json(work: Path) -> Row:
    """Do `covtool evaluate --json` on a model of 100,000 classes."""
    model, data = _many_classes(work)
    done, row = _command("evaluate", str(model), "--data", str(data), "--json")
    return {**row, "json_kib": len(done.stdout) >> 10}


def classes_page(work: Path) -> Row:
    """Do `covtool evaluate --report` on a model of 100,000 classes."""
    model, data = _many_classes(work)
    folder = work / "page"
    shutil.rmtree(folder, ignore_errors=True)
    _, row = _command("evaluate", str(model), "--data", str(data), "--report", str(folder))
    sizes = {file.name: file.stat().st_size >> 10 for file in folder.glob("*.*")}
    return {**row, "files_kib": sizes}


def classes_predicted(work: Path) -> Row:
    """Do `covtool predict --top-k 5` with a model of 100,000 classes on 1000 images."""
    model, _ = _many_classes(work)
    images = sorted((work / "folder" / "val").glob("*/IMG_00000000.jpg"))
    output = work / "answers.csv"
    words = ("predict", str(model), *map(str, images), "--top-k", "5", "-o", str(output))
    _, row = _command(*words, "--overwrite")
    return {**row, "csv_kib": output.stat().st_size >> 10 if output.exists() else None}


def classes_head(work: Path) -> Row:
    """Ask for 100,000 classes on a head of 32,896 features: 13 GB of weights."""
    words = ("convert", "resnet18", "--from-scratch", "--head", "isqrt", "--dim", "256")
    file = work / "big.safetensors"
    _, row = _command(*words, "--num-classes", str(MANY_CLASSES), "-o", str(file), "--overwrite")
    file.unlink(missing_ok=True)
    return row


CASES: dict[str, Callable[[Path], Row]] = {
    case.__name__.replace("_", "-"): case
    for case in (
        scan_folder,
        scan_list,
        scan_shards,
        image_list,
        fingerprints,
        fork_worker,
        spawn_worker,
        epoch_order,
        checks,
        equal_files,
        first_update_list,
        first_update_folder,
        first_update_shards,
        first_answer_list,
        first_answer_folder,
        audit_quick,
        audit_whole,
        classes_figures,
        classes_confused,
        classes_matrix,
        classes_counting,
        classes_json,
        classes_page,
        classes_predicted,
        classes_head,
    )
}


TOGETHER = (
    *("scan-folder", "checks", "equal-files", "fingerprints", "fork-worker", "spawn-worker"),
    *("epoch-order", "image-list"),
)
"""Cases that follow each other in one process: of a folder that is scanned once."""


def warmed() -> None:
    """Import what every command imports, which is not what is measured here."""
    from covtool.evaluation import evaluate  # noqa: F401
    from covtool.training import finetune  # noqa: F401


def run_cases(names: list[str], work: Path) -> None:
    """Measure cases in this process, and print a line for each."""
    warmed()
    for name in names:
        print(json.dumps({"case": name, **CASES[name](work)}), flush=True)


def measured(names: list[str], work: Path) -> Iterator[Row]:
    """Measure cases in a process of their own, which is ended if it takes too much."""
    words = [sys.executable, __file__, "--work", str(work), "--case", *names]
    limit = ["prlimit", f"--as={MOST_MEMORY}"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [*limit, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as child:
        timer = threading.Timer(LONGEST_S, child.kill)
        timer.start()
        left = list(names)
        for line in child.stdout or ():
            yield json.loads(line)
            left.pop(0)
        said = child.stderr.read().strip().splitlines() if child.stderr else []
        timer.cancel()
        if left:
            why = said[-1][:200] if said else f"it was ended, at the latest after {LONGEST_S} s"
            yield {"case": left[0], "ended": why}


def rows_there() -> list[Row]:
    """Return the rows that were measured."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [json.loads(line) for line in lines]


def cell(row: Row) -> str:
    """Return what the table has of a row."""
    if "ended" in row:
        return f"ended: {row['ended']}"
    parts = [f"{name} {row[name]:,}" for name in NUMBERS if row.get(name) is not None]
    return ", ".join(parts)


NUMBERS = (
    *("seconds", "cpu_s", "resumed_s", "resumed_cpu_s", "bytes_per_image"),
    *(
        "kept_mib",
        "peak_mib",
        "copied_mib",
        "pickled_mib",
        "written_s",
        "intervals_s",
        "intervals_peak_mib",
        "json_kib",
        "csv_kib",
    ),
    "status",
)


def print_table() -> None:
    """Print the cases by label; of rows of one case and label, the last."""
    found = {(row["case"], row["label"]): row for row in rows_there()}
    labels = list(dict.fromkeys(label for _, label in found))
    print(f"| case | {' | '.join(labels)} |")
    print(f"| --- |{' --- |' * len(labels)}")
    for name in CASES:
        cells = [cell(found[name, at]) if (name, at) in found else "" for at in labels]
        if any(cells):
            print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Make the data, measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--label")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("--print", action="store_true")
    parser.add_argument("--case", nargs="*", choices=CASES)
    arguments = parser.parse_args()
    if arguments.case:
        run_cases(arguments.case, arguments.work)
        return
    if arguments.work and arguments.label:
        make_data(arguments.work, arguments.images)
        there = {(row["case"], row["label"]) for row in rows_there()}
        wanted = [
            name
            for name in arguments.only
            if (name, arguments.label) not in there or arguments.again
        ]
        alone = [[name] for name in wanted if name not in TOGETHER]
        for names in filter(None, ([name for name in TOGETHER if name in wanted], *alone)):
            for row in measured(names, arguments.work):
                kept = {"label": arguments.label, "of": arguments.images, **row}
                with RESULTS.open("a") as out:
                    out.write(json.dumps(kept) + "\n")
                print(kept, flush=True)
    if arguments.work and arguments.remove:
        shutil.rmtree(arguments.work)
    if arguments.print:
        print_table()


if __name__ == "__main__":
    main()
