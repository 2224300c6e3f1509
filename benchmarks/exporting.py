"""Difference and speed of exported programs against torch, for every head, operator and tap.

    OMP_NUM_THREADS=1 python benchmarks/exporting.py --output benchmarks/results/exporting.md

Tiny networks at random, on random images; with ``--lite0 FILE`` also EfficientNet-Lite0 with some
heads, at 224 px. Figures are kept beside the output, in a .json file: a run that was interrupted
goes on from there. Speed is that of one thread of a machine on which other things may run.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import exported_models as tiny

from covtool.checkpoints.model_file import save
from covtool.checkpoints.opening import open_model
from covtool.errors import SurgeryError
from covtool.exporting import ExportRequest, export, proving
from covtool.specs import BaseSpec, HeadSpec, InputSpec
from covtool.surgery import apply_head, plan_head

HEADER = """# Exported programs against torch

`OMP_NUM_THREADS=1 python benchmarks/exporting.py --lite0 lite0.pth --output \
benchmarks/results/exporting.md`

Largest difference of the logits on 7 random images, in batches of 1 and of 7, over the spread of
the logits (their standard deviation over the classes); and how many times as fast the program is
as the model in torch, at batch 1 and at batch 7, on one thread (medians; other things ran on the
machine). Heads that need a solver are exported to ONNX with `--root newton-schulz`; the loss by
that is the last column, over the spread as well, with 15 iterations.

| model | ONNX | speed | .pt2 | speed | loss by Newton-Schulz |
| --- | --- | --- | --- | --- | --- |
"""
LITE0 = ("gap", "isqrt", "mpn", "cbp")


def models() -> dict[str, tuple]:
    """Return the tiny models by name: operations, base, images."""
    made = {**tiny.EVERY_HEAD, **tiny.FUSED, **tiny.EVERY_OPERATOR, **tiny.EVERY_OPERATION}
    plain = {
        name: (operations, tiny.BASES.get(name, tiny.RESNET), tiny.IMAGES)
        for name, operations in made.items()
    }
    return {**plain, **tiny.TAPS}


def measured(model: Path) -> dict:
    """Return the figures of a file's programs."""
    figures = {}
    for suffix in (".onnx", ".pt2"):
        request = ExportRequest(source=str(model), output=model.with_suffix(suffix), overwrite=True)
        try:
            done = export(request)
        except SurgeryError:
            try:
                done = export(replace(request, root="newton-schulz"))
                figures["loss"] = done.root.loss.relative_difference
            except SurgeryError as refused:
                figures[suffix] = {"refused": refused.message}
                continue
        figures[suffix] = {
            "difference": done.proof.relative_difference,
            "speed": [speed.ratio for speed in done.speed],
        }
    return figures


def lite0(file: str, name: str, folder: Path) -> Path:
    """Write EfficientNet-Lite0 with a head; its weights are the file's, the classifier random."""
    opened = open_model(file)
    plan = plan_head(opened.model, HeadSpec(head=name), opened.recipe.input, num_classes=30)
    torch.manual_seed(0)
    model = apply_head(opened.model, plan).eval()
    changes = {"operations": (plan.spec,), "num_classes": 30, "class_names": None}
    model.recipe = opened.recipe.model_copy(update=changes)
    return save(model, folder / "net.safetensors")


def write_tiny(operations: tuple, base: BaseSpec, images: InputSpec, folder: Path) -> Path:
    """Write a tiny model at random."""
    return tiny.write_model_of(folder, *operations, base=base, images=images)


def row(name: str, figures: dict) -> str:
    """Return a line of the table."""
    cells = [name]
    for suffix in (".onnx", ".pt2"):
        figure = figures[suffix]
        if "refused" in figure:
            cells += ["refused", "-"]
        else:
            cells += [
                f"{figure['difference']:.1e}",
                "x, ".join(f"{s:.1f}" for s in figure["speed"]),
            ]
            cells[-1] += "x"
    loss = figures.get("loss")
    return f"| {' | '.join([*cells, '-' if loss is None else f'{loss:.1e}'])} |\n"


def main() -> None:
    """Measure what is not measured yet, and write the table after each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lite0", help="weights of EfficientNet-Lite0")
    arguments = parser.parse_args()
    proving.LONGEST_S = 1.0  # a hundred programs, of which most take milliseconds
    kept = arguments.output.with_suffix(".json")
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    todo = {
        f"EfficientNet-Lite0 {name}, 224 px": partial(lite0, arguments.lite0, name)
        for name in (LITE0 if arguments.lite0 else ())
    }
    todo.update({name: partial(write_tiny, *made) for name, made in models().items()})
    for name, write in todo.items():
        if name not in figures:
            with TemporaryDirectory() as folder:
                figures[name] = measured(write(Path(folder)))
            kept.write_text(json.dumps(figures))
            print(row(name, figures[name]), end="", flush=True)
        lines = [row(n, figures[n]) for n in todo if n in figures]
        arguments.output.write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
