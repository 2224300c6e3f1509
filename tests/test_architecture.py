"""ARCHITECTURE.md and CONTRIBUTING.md name files, tables and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
QUOTED = re.compile(r"`([^`\n]+)`")
PLACE = re.compile(r"((?:covtool|cli|tests|docs|benchmarks)/[\w/.]*)(?:: ([\w, ]+))?")


def places(page: str) -> list[tuple[str, str | None]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = (PLACE.fullmatch(quoted) for quoted in QUOTED.findall(text))
    return [(match[1], match[2]) for match in found if match]


def defined_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_of_the_page_exist(page: str) -> None:
    assert len(places(page)) > 15
    for path, name in places(page):
        assert (ROOT / path).exists(), path
        if name is not None:
            assert name in defined_in(ROOT / path), f"{path}: {name}"


def test_layers_of_the_drawing_are_those_of_the_contract() -> None:
    """A layer that the drawing lacks, or has elsewhere, would mislead a newcomer."""
    drawing = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = re.search(r'containers = \["covtool"\].*?layers = \[(.*?)\n\]', settings, re.DOTALL)
    layers = [set(row.split(" | ")) for row in re.findall(r'"([^"]+)"', contract[1])]
    modules = set().union(*layers)
    rows = [set(re.findall(r"[a-z_]+", line)) & modules for line in drawing.splitlines()[2:]]
    order = [
        next(n for n, layer in enumerate(layers) if name in layer)
        for row in rows
        for name in sorted(row)
    ]
    assert order == sorted(order)
    assert modules <= set().union(*rows)
