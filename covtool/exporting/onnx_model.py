"""ONNX models: built by torch's exporter, run by onnxruntime."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from covtool.errors import ArgumentError, SurgeryError, first_line
from covtool.exporting.job import Job
from covtool.exporting.preparation import BATCH
from covtool.exporting.proving import Program
from covtool.exporting.quantizing import quantized
from covtool.exporting.records import OPSET
from covtool.exporting.torch_program import traced
from covtool.specs.byte_amounts import format_bytes

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSETS = range(18, 24)
"""Operator sets: below, torch's exporter has none; above, onnxruntime warns of models it may fail
on."""

LARGEST_BYTES = 2**31 - 2**20
"""One protobuf message holds 2 GB; a little is for the graph itself."""


def require_onnx(**_: object) -> None:
    """Refuse to begin where a package is missing.

    Raises:
        ArgumentError: One of `PACKAGES` is not installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f"ONNX files are written and checked by {', '.join(PACKAGES)}, of which "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="Install them: pip install 'covtool[onnx]'.",
        )


def require_opset(opset: int | None) -> None:
    """Refuse an operator set that the exporter does not write.

    Raises:
        ArgumentError: It does not.
    """
    if opset is not None and opset not in OPSETS:
        raise ArgumentError(
            f"--opset {opset} is not valid: it should be {OPSETS[0]} to {OPSETS[-1]}.",
            hint=f"Leave it out for {OPSET}, which most runtimes have.",
        )


def require_size(module: nn.Module) -> None:
    """Refuse a model whose weights do not fit into one ONNX file.

    Raises:
        ArgumentError: They do not.
    """
    tensors = (*module.parameters(), *module.buffers())
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if num_bytes > LARGEST_BYTES:
        raise ArgumentError(
            f"The weights take {format_bytes(num_bytes)}, and one ONNX file holds 2 GB.",
            hint="Add --half, or export as .pt2, which has no such limit.",
        )


def build_onnx(job: Job, folder: Path) -> Any:
    """Return the ONNX model, in int8 where that is asked for.

    Args:
        job: The export.
        folder: Folder for files for a while.

    Raises:
        SurgeryError: torch's exporter cannot translate the model.
        ArgumentError: It is too large, or there is nothing to compute in int8.
    """
    require_size(job.module)
    program = traced(job.module, job)
    try:
        with _quiet():
            translated = _translated(program, job)
    except Exception as problem:  # the exporter wraps whatever went wrong, of any class
        raise SurgeryError(
            "torch's exporter cannot translate this model to ONNX.",
            reason=f"{first_line(problem.__cause__ or problem)}.",
            hint="Export it as .pt2, which keeps torch's own operations.",
        ) from problem
    model = _described(translated.model_proto)
    if job.request.int8:
        model = quantized(model, job, folder)
    for node in model.graph.node:
        node.ClearField("metadata_props")  # the exporter's, with paths of this machine
    return model


def _translated(program: torch.export.ExportedProgram, job: Job) -> Any:
    from onnxscript import optimizer

    translated = torch.onnx.export(
        program,
        (),
        dynamo=True,
        input_names=[job.interface.input],
        output_names=[job.interface.output],
        opset_version=job.request.opset or OPSET,
        # Its rewriter takes + 1e-10 for + 0 and divides by zero then: constants alone are folded.
        optimize=False,
        verbose=False,
    )
    optimizer.inline(translated.model)
    optimizer.fold_constants(translated.model)
    optimizer.remove_unused_nodes(translated.model)
    return translated


def _described(model: Any) -> Any:
    """Return the model with its batch axis called by name, and no values but inputs and outputs."""
    graph = model.graph
    first = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == first:
                axis.dim_param = BATCH
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings that the exporter gives about its own code."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            for module in (r"torch\.onnx", r"onnxscript", r"onnx_ir", r"onnx\."):
                warnings.filterwarnings("ignore", category=category, module=module)
        yield


def save_onnx(model: Any, path: Path, metadata: dict[str, str]) -> None:
    """Write an ONNX model with its metadata."""
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "covtool", metadata["covtool_version"]
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def open_onnx(path: Path) -> Program:
    """Return the model of a file as a function of images, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its warnings are about its own optimizations
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])

    return run
