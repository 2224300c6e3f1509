"""Architectures that go through inspect, convert and back, and reasons why others are refused.

    python benchmarks/registry.py [--only NAME] [--json FILE] [--output FILE]

The smallest architecture of each of timm's modules and every classifier of torchvision is built
at random, saved as a bare state dict, and given to inspect and convert, at 128 px or the smallest
larger size that it takes. What was measured is kept in the JSON file: a run that was stopped goes
on where it was. The output is a Markdown table.
"""

import argparse
import gc
import json
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from covtool.backbones.architectures import load_index
from covtool.backbones.create import (
    TORCHVISION_PREFIX,
    create_model,
    parse_name,
    torchvision_names,
)
from covtool.backbones.library_input import default_input
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import CovtoolError, VerificationError
from covtool.specs import BaseSpec, ConvolutionSpec, HeadSpec, ModelSource, Operation

OPERATIONS: dict[str, Operation] = {
    "gap": HeadSpec(head="gap"),
    "isqrt": HeadSpec(head="isqrt", dim=32),
    "conv tanh": ConvolutionSpec(conv="tanh"),
}
STEPS = ("inspect", *OPERATIONS)
OK = "ok"
SIZES = (128, 160, 192, 224, 256, 288)  # in pixels, the first that works
CLASSES = 10


def smallest_architectures() -> dict[str, str]:
    """Timm's smallest architecture of each module, each of torchvision; the smallest first."""
    sizes = sizes_of_architectures()
    modules = {module: timm.list_models(module=module) for module in timm.list_modules()}
    smallest = {
        f"timm {module}": min((n for n in names if sizes.get(n)), key=lambda n: (sizes[n], n))
        for module, names in modules.items()
        if any(sizes.get(name) for name in names)
    }
    names = [f"{TORCHVISION_PREFIX}{name}" for name in torchvision_names()]
    found = smallest | {name.replace(":", " "): name for name in names}
    return dict(sorted(found.items(), key=lambda pair: sizes[pair[1]]))


def sizes_of_architectures() -> dict[str, int]:
    """Numbers in the tensors of each architecture, by its name for ``--arch``."""
    index = load_index()
    prefixes = {"timm": "", "torchvision": TORCHVISION_PREFIX}
    return {
        f"{prefixes[known.library]}{known.name}": sum(prod(s) for _, s in index.tensors(row))
        for row, known in enumerate(index.architectures)
    }


def try_architecture(name: str, folder: Path) -> dict[str, str]:
    """Try an architecture at each step: ``ok``, or the reason why it is refused.

    Args:
        name: Name of the architecture, for ``--arch``.
        folder: For the files, which are removed.

    Returns:
        By the names in `STEPS`; ``size`` is the side of the images in pixels. What begins with
        ``crash`` or ``wrong`` should not be.
    """
    base, _ = parse_name(name)
    torch.manual_seed(0)
    with _file_of(create_model(base, num_classes=CLASSES), folder) as source:
        size = _working_size(base)
        found = {"size": str(size), "inspect": _outcome(lambda: _inspected(source, name))}
        for step, operation in OPERATIONS.items():
            request = ConversionRequest(
                source=ModelSource(name=str(source), arch=name, input={"size": (size, size)}),
                operations=(operation,),
                output=folder / "converted.safetensors",
                overwrite=True,
            )
            found[step] = _outcome(lambda request=request: load(convert(request).path))
            gc.collect()
        (folder / "converted.safetensors").unlink(missing_ok=True)
    return found


class _file_of:  # noqa: N801 -- used as a function
    """The bare state dict of a model in a file, for a while."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        self._path = folder / "source.pth"
        torch.save(dict(model.state_dict()), self._path)  # a dict: without torch's metadata

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *problem: object) -> None:
        self._path.unlink()


def _inspected(source: Path, name: str) -> None:
    inspection, _ = inspect_source(str(source), arch=name)
    if inspection.sites is None:
        raise CovtoolError(inspection.not_operable or "It has no sites.")


def _outcome(do: Callable[[], Any]) -> str:
    try:
        do()
    except VerificationError as problem:
        return f"wrong: {problem.message}"
    except CovtoolError as problem:
        return " ".join(filter(None, (problem.message, problem.reason)))
    except Exception as problem:  # any library may raise anything: that is what is looked for
        return f"crash: {type(problem).__name__}: {str(problem).splitlines()[:1]}"
    return OK


def _working_size(base: BaseSpec) -> int:
    native = default_input(base).size[0]
    model = create_model(base, num_classes=CLASSES)
    fixed = getattr(model, "pretrained_cfg", {}).get("fixed_input_size")
    for size in () if fixed else SIZES:
        if size < native and _runs(model, size):
            return size
    return native


def _runs(model: nn.Module, size: int) -> bool:
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except Exception:  # whatever the library says of a size that it does not take
        return False
    return True


def as_markdown(outcomes: dict[str, dict[str, str]]) -> str:
    """Return the outcomes as a table, with the reasons below it."""
    lines = [
        "# Every module of timm, every classifier of torchvision",
        "",
        "The smallest architecture of each module, at random, as a bare state dict, through",
        "`covtool inspect` and `covtool convert` (`--head gap`, `--head isqrt --dim 32`, "
        "`--conv tanh`),",
        "each file read back and compared; by `python benchmarks/registry.py` with",
        f"timm {timm.__version__} and torchvision {torchvision.__version__.partition('+')[0]}. "
        "Refusals are numbered and listed below.",
        "",
        _counted(outcomes),
        "",
        f"| module | architecture | px | {' | '.join(STEPS)} |",
        f"| --- | --- | ---: |{' --- |' * len(STEPS)}",
    ]
    reasons: dict[str, int] = {}
    for module, found in sorted(outcomes.items()):
        cells = [_cell(found[step], reasons) for step in STEPS]
        lines.append(f"| {module} | {found['name']} | {found['size']} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    left = [name for module, name in smallest_architectures().items() if module not in outcomes]
    if left:
        lines += ["", f"Not tried here, for want of memory and time: {', '.join(left)}."]
    lines.append("")
    return "\n".join(lines)


def _cell(outcome: str, reasons: dict[str, int]) -> str:
    if outcome == OK:
        return OK
    return f"refused ({reasons.setdefault(outcome, len(reasons) + 1)})"


def _counted(outcomes: dict[str, dict[str, str]]) -> str:
    counts = (f"{sum(o[s] == OK for o in outcomes.values())} {s}" for s in STEPS)
    return f"Of {len(outcomes)}: {', '.join(counts)}; the others are refused."


def main() -> None:
    """Try every architecture and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="a module or a name; may be repeated")
    parser.add_argument("--json", type=Path, default=Path("registry.json"))
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    outcomes = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    for module, name in smallest_architectures().items():
        wanted = not asked.only or {name, module, module.partition(" ")[2]} & set(asked.only)
        if not wanted or (module in outcomes and not asked.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcomes[module] = {"name": name, **try_architecture(name, Path(folder))}
        print(module, outcomes[module], flush=True)
        asked.json.write_text(json.dumps(outcomes, indent=1))
    if asked.output:
        asked.output.write_text(as_markdown(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
