"""The formats that a model leaves covtool in. A new format is a new row here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.atomic.formats import KNOWN_SUFFIXES
from covtool.errors import ArgumentError
from covtool.exporting.job import Job
from covtool.exporting.onnx_model import build_onnx, open_onnx, require_onnx, save_onnx
from covtool.exporting.proving import Program
from covtool.exporting.torch_program import build_program, open_program, save_program
from covtool.registry import Registry

SETTINGS = frozenset({"preprocess", "half", "data", "root", "iterations", "tolerance"})
"""Options of a program that is run and compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of exported models.

    Attributes:
        name: Word that ``--format`` takes.
        summary: One line, with a full stop.
        source: Library that reads it.
        suffix: Suffix of its files; "" for a folder.
        takes: Fields of `ExportRequest` that it takes beside those that all take.
        has_solvers: Whether its programs may call an eigendecomposition or a linear solver.
        require: Function that refuses where what it needs is not installed.
        build: Function that makes a program in memory; None where another module does everything.
        save: Function that writes it, with its metadata.
        reload: Function that opens a file and returns a function of images.
    """

    name: str
    summary: str
    source: str
    suffix: str
    takes: frozenset[str] = SETTINGS
    has_solvers: bool = False
    require: Callable[[], None] = lambda: None
    build: Callable[[Job, Path], Any] | None = None
    save: Callable[[Any, Path, dict[str, str]], None] | None = None
    reload: Callable[[Path], Program] | None = None


FORMATS = Registry(
    "format",
    [
        Format(
            name="onnx",
            summary="ONNX model, for onnxruntime and every other runtime of ONNX.",
            source="torch.onnx, onnxruntime",
            suffix=".onnx",
            takes=SETTINGS | {"int8", "calibrate", "opset"},
            require=require_onnx,
            build=build_onnx,
            save=save_onnx,
            reload=open_onnx,
        ),
        Format(
            name="torch",
            summary="Program of torch.export, which torch runs without covtool.",
            source="torch.export",
            suffix=".pt2",
            has_solvers=True,
            build=build_program,
            save=save_program,
            reload=open_program,
        ),
        Format(
            name="timm",
            summary="Folder that timm.create_model opens; for models that are plain timm.",
            source="timm",
            suffix="",
            takes=frozenset({"data", "tolerance"}),
        ),
    ],
)

SUFFIXES = {row.suffix: row for row in FORMATS if row.suffix}


def format_of(output: Path, name: str | None) -> Format:
    """Return the format that a file's name and ``--format`` ask for.

    Args:
        output: File to write, or folder to make.
        name: Name of a row of `FORMATS`; None for the format of the suffix.

    Raises:
        UnknownVariantError: There is no such format.
        ArgumentError: The two contradict each other, or neither names a format.
    """
    by_suffix = SUFFIXES.get(output.suffix.lower())
    if name is None:
        if by_suffix is None:
            raise ArgumentError(
                f"{output} does not say in which format to export.",
                hint="Call it model.onnx or model.pt2, or name a folder and add --format timm.",
            )
        return by_suffix
    row = FORMATS[name]
    suffix = output.suffix.lower()
    is_file = suffix in SUFFIXES or suffix in KNOWN_SUFFIXES
    if row.suffix and by_suffix is not row:
        raise ArgumentError(
            f"{output} is not the name of a {row.suffix} file, which --format {name} writes.",
            hint=f"Call it {output.with_suffix(row.suffix)}, or choose another format.",
        )
    if not row.suffix and is_file and not output.is_dir():
        raise ArgumentError(
            f"{output} is the name of a file, and --format {name} makes a folder.",
            hint=f"Call it {output.with_suffix('')}, or leave --format out.",
        )
    return row
