"""Programs of torch.export: .pt2 files, which torch opens without covtool."""

import io
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from covtool.errors import SurgeryError, first_line
from covtool.exporting.job import Job
from covtool.exporting.preparation import BATCH, example
from covtool.exporting.proving import Program


def traced(module: nn.Module, job: Job) -> ExportedProgram:
    """Return a module as one graph of torch's operations, for batches of any size.

    Raises:
        SurgeryError: torch.export cannot follow the module.
    """
    shapes = ({0: torch.export.Dim(BATCH)},)
    try:
        with torch.no_grad():
            return torch.export.export(module, (example(job.interface),), dynamic_shapes=shapes)
    # Whatever a network does that cannot be followed, torch says in errors of many classes.
    except Exception as problem:
        raise SurgeryError(
            "torch.export cannot turn this model into a graph for batches of any size.",
            reason=f"{type(problem).__name__}: {first_line(problem)}.",
        ) from problem


def build_program(job: Job, folder: Path) -> ExportedProgram:
    """Return the program; see `traced`."""
    return traced(job.module, job)


def save_program(program: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write a program with its metadata, one file each inside of the archive."""
    # Through memory: torch looks at the suffix of a path, and this one is a file's to be.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files=metadata)
    path.write_bytes(content.getbuffer())


def open_program(path: Path) -> Program:
    """Return the program of a file as a function of images."""
    with path.open("rb") as file:
        return torch.export.load(io.BytesIO(file.read())).module()
