"""Over how many architectures each layout of another code base is read back, names and shapes.

``PYTHONPATH=tests python benchmarks/code_bases.py [--output PATH]`` writes the names of every
architecture of a layout as the code base would, and reads them again. No network is built.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import torch
from code_base_layouts import LAYOUTS, Layout

from covtool.backbones.architectures import load_index
from covtool.backbones.checkpoint_filters import filter_module
from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.code_bases import CODE_BASES, read_code_bases

OUTPUT = Path(__file__).with_name("results") / "code-bases.md"


def tensors_of(index: ArchitectureIndex, row: int) -> dict[str, torch.Tensor]:
    """Tensors without memory, but for vectors: some rows read means and biases."""
    return {
        name: torch.ones(shape) if len(shape) < 2 else torch.empty(shape, device="meta")
        for name, shape in index.tensors(row)
    }


def is_read(layout: Layout, state: dict[str, torch.Tensor]) -> bool:
    """Return whether a reading gives names and shapes back, but for a classifier without place."""
    beside = {name: torch.zeros(shape) for name, shape in layout.beside.items()}
    written = {**layout.write(state), **beside}
    expected = {name: tensor.shape for name, tensor in state.items()}
    for reading in read_code_bases(written):
        found = {name: tensor.shape for name, tensor in reading.tensors.items()}
        if reading.code_base == layout.code_base and found == expected and not reading.refusal:
            return True
    return False


def architectures_of(index: ArchitectureIndex, layout: Layout) -> list[int]:
    """Rows of the index all of whose names the layout has, and that are of its kind."""
    pattern = re.compile(layout.names)
    like = "torchvision" if layout.architecture.startswith("torchvision:") else "timm"
    first = index.find(like, layout.architecture.rpartition(":")[2])[0]
    kind = body_kinds(index, first)
    rows = []
    for row, architecture in enumerate(index.architectures):
        if not re.match(layout.family, architecture.name) or body_kinds(index, row) != kind:
            continue
        names = [name for name, _ in index.tensors(row)]
        if names and all(pattern.fullmatch(name) for name in names):
            rows.append(row)
    return rows


def body_kinds(index: ArchitectureIndex, row: int) -> set[str]:
    """Return the names before the classifier, numbers left aside."""
    heads = tuple(f"{head}." for head in index.architectures[row].classifiers)
    names = (name for name, _ in index.tensors(row))
    return {re.sub(r"\d+", "0", n) for n in names if not (heads and n.startswith(heads))}


def sweep(index: ArchitectureIndex) -> dict[str, dict[str, bool]]:
    """Find by code base: the architecture, and whether it is read back."""
    results: dict[str, dict[str, bool]] = defaultdict(dict)
    for layout in LAYOUTS:
        headless = layout.arguments.get("num_classes") == 0
        for row in architectures_of(index, layout):
            architecture, state = index.architectures[row], tensors_of(index, row)
            heads = tuple(f"{head}." for head in architecture.classifiers)
            if headless and heads:
                state = {n: t for n, t in state.items() if not n.startswith(heads)}
            name = f"{architecture.library}:{architecture.name}"
            results[layout.code_base][name] = is_read(layout, state)
    return results


def table(results: dict[str, dict[str, bool]]) -> list[str]:
    """Return the results in Markdown, in the order of the table of code bases."""
    lines = [
        "| code base | what is read | architectures | read back |",
        "| --- | --- | --: | --: |",
    ]
    for row in CODE_BASES:
        tried = results[row.name]
        lines.append(f"| {row.name} | {row.summary} | {len(tried)} | {sum(tried.values())} |")
    return lines


def main() -> None:
    """Sweep and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    index = load_index()
    results = sweep(index)
    tried = {name for found in results.values() for name in found}
    filtered = sum(
        a.library == "timm" and filter_module(a.name) is not None for a in index.architectures
    )
    lines = [
        "# Other code bases' names: over how many architectures each renaming was tried",
        "",
        "`PYTHONPATH=tests python benchmarks/code_bases.py`. Every architecture of the index whose "
        "names are of a layout's kind is written as the code base would, and read again: names and "
        "shapes must be those of before. Logits are compared in "
        "`tests/checkpoints/code_bases/test_layouts.py`, on one or two architectures of each.",
        "",
        *table(results),
        "",
        f"{len(tried)} of {len(index.architectures)} architectures have at least one layout of "
        f"another code base. {filtered} have a conversion of timm's own. "
        f"No row claims any of the {len(index.architectures)} under its own names (a test).",
    ]
    failed = [
        f"{k}: {name}" for k, found in results.items() for name, ok in found.items() if not ok
    ]
    if failed:
        lines += ["", f"Not read back: {', '.join(failed)}."]
    output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
