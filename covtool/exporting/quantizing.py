"""Convolutions and linear layers of an ONNX model in int8, all else in float32.

Covariances and roots stay in float32, and so do decoupled operators, whose norms are sums of
squares: eight bits would leave nothing of their small eigenvalues and responses.
"""

import logging
import warnings
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from covtool.errors import ArgumentError
from covtool.exporting.job import Job
from covtool.layers.conv_operator import ConvOperator
from covtool.layers.global_pooling import GlobalPooling

TYPES = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip")
"""Activations that a range can stand for: without them, what is cut off would widen the ranges."""

SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note on a node: the modules that it comes from, outermost first."""


def quantized(model: Any, job: Job, folder: Path) -> Any:
    """Return an ONNX model with its convolutions and linear layers in int8.

    Ranges are the smallest and largest values on the calibration images.

    Args:
        model: The model in float32, as torch's exporter made it.
        job: The export, with its images.
        folder: Folder for files for a while.

    Raises:
        ArgumentError: No layer is left to compute in int8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    kept = nodes_in_float(model, job.module)
    weights = {tensor.name for tensor in model.graph.initializer}
    layers = [n for n in model.graph.node if n.op_type in TYPES and set(n.input[1:2]) & weights]
    if all(node.name in kept for node in layers):
        raise ArgumentError(
            "There is no layer to compute in int8.",
            reason="Covariances and decoupled operators stay in float32.",
            hint="Leave --int8 out, or use --half.",
        )
    given, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(_fused(model, given), given)
    with _quiet():
        quantize_static(
            str(given),
            str(target),
            _Reader(job),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*TYPES, *ACTIVATIONS],
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Products of two activations, as in attention, stay in float32.
            extra_options={"MatMulConstBOnly": True},
        )
    return onnx.load(target)


def count_quantized(model: Any) -> int:
    """Return the number of layers of an ONNX model that compute in int8."""
    made = {name for node in model.graph.node if node.op_type == "DequantizeLinear"
            for name in node.output}  # fmt: skip
    return sum(n.op_type in TYPES and set(n.input[:2]) <= made for n in model.graph.node)


def nodes_in_float(model: Any, module: nn.Module) -> set[str]:
    """Return the names of an ONNX model's nodes that stay in float32.

    Those of pooling layers but for their reduction, and those of operators in the place of
    convolutions.

    Args:
        model: The model, with the exporter's notes.
        module: Module that it was made from.
    """
    kept = {p for p, m in module.named_modules() if isinstance(m, GlobalPooling | ConvOperator)}
    reductions = {f"{p}.reduction" for p in kept}
    names = set()
    for node in model.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = set(literal_eval(notes.get(SCOPES, "[]")))
        if scopes & kept and not scopes & reductions:
            names.add(node.name)
    return names


def _fused(model: Any, path: Path) -> Any:
    """Return the model with batch norms folded into convolutions, as onnxruntime would do it."""
    import onnx
    import onnxruntime

    plain = path.with_name("plain.onnx")
    onnx.save(model, plain)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


class _Reader:
    """Calibration images, one after the other, as onnxruntime's quantizer asks for them."""

    def __init__(self, job: Job) -> None:
        assert job.calibration is not None  # a request for int8 has them
        given = job.calibration.given(as_pixels=job.interface.normalizes)
        self.name, self.images = job.interface.input, iter(given.split(1))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next image; None after the last."""
        image = next(self.images, None)
        return None if image is None else {self.name: image.contiguous().numpy()}

    def __len__(self) -> int:
        return self.images.__length_hint__()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out onnxruntime's advice to preprocess, which is done, and warnings of its code."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"onnxruntime\.quantization")
            yield
    finally:
        root.setLevel(level)
