"""Cells, titles and footers that several benchmarks' tables share."""

from typing import TYPE_CHECKING

from covtool_cli import render

if TYPE_CHECKING:
    from covtool.benchmarking.inputs import BenchmarkSpec
    from covtool.benchmarking.measuring import Cost

COST = ("forward ms", "backward ms", "peak MiB")


def cost(measured: "Cost") -> tuple[str, str, str]:
    """Return the cells of the columns `COST`."""
    return f"{measured.forward_ms:.2f}", f"{measured.backward_ms:.2f}", f"{measured.peak_mib:.1f}"


def times(ratio: float | None) -> str:
    """Return a ratio like 1.50x."""
    return "-" if ratio is None else f"{ratio:.2f}x"


def conditions(spec: "BenchmarkSpec", compiled: bool) -> str:
    """Return precision, layout and form for a table's title."""
    words = [spec.dtype]
    words += ["channels last"] if spec.channels_last else []
    words += ["compiled"] if compiled else []
    return ", ".join(words)


def show_footer(machine: str, repetitions: int) -> None:
    """Show the machine, and the passes that each time is the median of."""
    render.line(f"{machine}; medians of {repetitions} passes")
