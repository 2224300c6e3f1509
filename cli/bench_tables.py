"""What `covtool bench` measured, as tables."""

from typing import TYPE_CHECKING

from covtool.specs.byte_amounts import format_bytes
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.benchmarking.convolutions import ConvolutionBenchmark
    from covtool.benchmarking.data_loading import LoadingBenchmark
    from covtool.benchmarking.heads import HeadBenchmark
    from covtool.benchmarking.inputs import BenchmarkSpec
    from covtool.benchmarking.measuring import Cost
    from covtool.benchmarking.optimizer_steps import OptimizerStepBenchmark
    from covtool.benchmarking.retrieval import RetrievalBenchmark
    from covtool.benchmarking.training_steps import StepBenchmark

COST = ("forward ms", "backward ms", "peak MiB")


def show_heads(result: "HeadBenchmark") -> None:
    """A table for each shape."""
    columns = (
        "head",
        *COST,
        "parameters, 1000 classes",
        "time / gap",
        "textbook / time",
        "error of the root",
    )
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                row.head,
                *_cost(row.cost),
                f"{row.parameters:,}",
                f"{row.to_gap:.0f}x",
                f"{row.to_textbook:.2f}x",
                "" if row.root_error is None else f"{row.root_error:.1e}",
            )
            for row in result.rows
            if row.shape == shape
        ]
        render.table(f"{shape}, {result.dtype}", columns, rows)
    _footer(result.machine, result.repetitions)


def show_convolutions(result: "ConvolutionBenchmark") -> None:
    """A table for each shape, and another for the compiled forms."""
    columns = ("operator", *COST, "time / conv", "memory / conv")
    for shape, compiled in dict.fromkeys((row.shape, row.compiled) for row in result.rows):
        rows = [
            (row.operator, *_cost(row.cost), f"{row.to_conv:.2f}x", f"{row.memory_to_conv:.2f}x")
            for row in result.rows
            if (row.shape, row.compiled) == (shape, compiled)
        ]
        render.table(f"{shape}, {_how(result.spec, compiled)}", columns, rows)
    _footer(result.machine, result.spec.repetitions)


def show_steps(result: "StepBenchmark") -> None:
    """A table, and another for the compiled forms."""
    columns = ("operator", "convolutions replaced", "ms / step", "time / conv")
    for compiled in dict.fromkeys(row.compiled for row in result.rows):
        rows = [
            (row.operator, row.convolutions, f"{row.step_ms:.1f}", f"{row.to_conv:.2f}x")
            for row in result.rows
            if row.compiled == compiled
        ]
        title = f"{result.model}, {result.shape}, {_how(result.spec, compiled)}"
        render.table(title, columns, rows)
    _footer(result.machine, result.spec.repetitions)


def show_optimizer_steps(result: "OptimizerStepBenchmark") -> None:
    """A table for each shape."""
    columns = (
        *("optimizer", "centralized", "ms / step", "ms in the optimizer"),
        *("time / none", "overhead"),
    )
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                *(row.optimizer, row.centralized, f"{row.step_ms:.1f}", f"{row.optimizer_ms:.2f}"),
                *(f"{row.to_plain:.3f}x", f"{100 * row.overhead:+.2f} %"),
            )
            for row in result.rows
            if row.shape == shape
        ]
        title = f"{result.model}, {shape}, {_how(result.spec, compiled=False)}"
        render.table(title, columns, rows)
    _footer(result.machine, result.spec.repetitions)


def show_loading(result: "LoadingBenchmark") -> None:
    """One table; a loader of covtool's is called by its cache."""
    columns = (
        *("loader", "images / s, first epoch", "second epoch", "second / timm's"),
        *("core ms / image, second", "timm's / second"),
        *("ms waited / step, first epoch", "second epoch"),
    )
    rows = [
        (
            *(row.loader, f"{row.first:.0f}", f"{row.later:.0f}", _times(row.to_timm)),
            *("-" if row.cpu_ms is None else f"{row.cpu_ms:.2f}", _times(row.cpu_of_timm)),
            *(f"{row.first_wait_ms:.1f}", f"{row.later_wait_ms:.1f}"),
        )
        for row in result.rows
    ]
    spec = result.spec
    title = (
        f"{result.data}, {result.images} images at {spec.img_size} px, batches of "
        f"{spec.batch_size}, steps of {spec.step_ms:g} ms, processes: {spec.workers}"
    )
    render.table(title, columns, rows)
    _footer(result.machine, spec.repetitions)


def show_retrieval(result: "RetrievalBenchmark") -> None:
    """A table for each size."""
    columns = ("search", "s", "planned", "taken by the search", "by the whole process")
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                row.search,
                f"{row.seconds:.2f}",
                *map(format_bytes, (row.planned_bytes, row.search_bytes, row.process_bytes)),
            )
            for row in result.rows
            if row.shape == shape
        ]
        render.table(f"{shape}, {result.metric}, at most {result.max_memory}", columns, rows)
    _footer(result.machine, result.repetitions)


def _cost(cost: "Cost") -> tuple[str, str, str]:
    return f"{cost.forward_ms:.2f}", f"{cost.backward_ms:.2f}", f"{cost.peak_mib:.1f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _how(spec: "BenchmarkSpec", compiled: bool) -> str:
    words = [spec.dtype]
    words += ["channels last"] if spec.channels_last else []
    words += ["compiled"] if compiled else []
    return ", ".join(words)


def _footer(machine: str, repetitions: int) -> None:
    render.line(f"{machine}; medians of {repetitions} passes")
