"""`covtool bench`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs import RetrievalSpec
from covtool_cli import bench_tables, options, render

# What each benchmark takes; options that are not here are taken by all.
TAKEN = {
    "heads": {"--shape", "--head"},
    "convs": {"--shape", "--conv", "--compile", "--channels-last"},
    "step": {"--shape", "--network", "--opt", "--channels-last"},
    "data": {"--data", "--img-size", "--batch-size", "--workers", "--color-jitter", "--step-ms"},
    "convs --step": {"--step", "--step-shape", "--conv", "--compile", "--channels-last"},
    "retrieval": {"--shape", "--search", "--metric", "--max-memory"},
}
REPETITIONS = {"data": 5, "retrieval": 3}  # of whole epochs, of whole searches
USUAL_REPETITIONS = 15


def command(
    what: Annotated[
        Literal["heads", "convs", "step", "data", "retrieval"],
        typer.Argument(help="What to measure."),
    ] = "heads",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="heads: BxDxHxW. convs: BxCxHxW:3x3, or :dw3x3 for depthwise. step: images, "
            "BxCxHxW. retrieval: queries, gallery, features, QxGxD. Several: --shape A --shape B."
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(help="heads: only these, as NAME or mpn:RULE; default: all."),
    ] = None,
    conv: Annotated[
        list[str] | None,
        typer.Option(
            help="convs: only these, as NAME or NAME:ANGULAR; default: every magnitude, and tanh "
            "with every angular activation."
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(help="convs: a training step of this network, in place of single layers."),
    ] = None,
    step_shape: Annotated[
        str | None, typer.Option(help="Of --step's images, BxCxHxW; default: 8x3x224x224.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="step: a timm name or torchvision:NAME; default: resnet18.")
    ] = None,
    opt: Annotated[
        list[str] | None, typer.Option(help="step: timm's optimizers; default: sgd and adamw.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="data: a folder with a folder per class; default: made-up photographs."),
    ] = None,
    img_size: Annotated[
        int | None, typer.Option(min=1, help="data: of the network's images; default: 224.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", min=1, help="data: default: 32.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-j", min=1, help="data: processes that load; default: 2."),
    ] = None,
    color_jitter: Annotated[
        float | None,
        typer.Option(min=0, help="data: beside random crops and flips; default: none."),
    ] = None,
    step_ms: Annotated[
        float | None,
        typer.Option(min=0, help="data: a training step on an accelerator; default: 50."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="convs: the torch.compile'd forms as well.")
    ] = False,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="convs, step: in the channels-last layout.")
    ] = False,
    search: Annotated[
        list[str] | None,
        typer.Option(help="retrieval: only exact, or only rerank; default: both."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="retrieval: cosine or euclidean; default: cosine.")
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(help="retrieval: what a search may take; default: 4GB."),
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "float64"],
        typer.Option(help="Of the feature maps; of autocast for training steps."),
    ] = "float32",
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 products use TF32 (NVIDIA).")
    ] = False,
    repetitions: Annotated[
        int | None,
        typer.Option(min=1, help="Times are medians of so many; default: 15, data 5, retrieval 3."),
    ] = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure heads, convolutions, what --gc costs, loaders or searches, side by side.

    Example: covtool bench convs --shape 16x64x56x56:3x3 --conv tanh --conv tanh:sigmoid
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler's own chatter, before torch loads
    given = {
        "--shape": shape,
        "--head": head,
        "--conv": conv,
        "--step": step,
        "--step-shape": step_shape,
        "--network": network,
        "--opt": opt,
        "--data": data,
        "--img-size": img_size,
        "--batch-size": batch_size,
        "--workers": workers,
        "--color-jitter": color_jitter,
        "--step-ms": step_ms,
        "--compile": compiled,
        "--channels-last": channels_last,
        "--search": search,
        "--metric": metric,
        "--max-memory": max_memory,
    }
    benchmark = f"{what} --step" if what == "convs" and step else what
    _refuse_untaken(benchmark, given)
    repetitions = repetitions or REPETITIONS.get(what, USUAL_REPETITIONS)
    if benchmark == "data":
        settings = {
            "img_size": img_size,
            "batch_size": batch_size,
            "workers": workers,
            "color_jitter": color_jitter,
            "step_ms": step_ms,
            "repetitions": repetitions,
        }
        _show(_data(data, settings), bench_tables.show_loading, as_json=as_json)
        return
    if benchmark == "retrieval":
        if dtype != "float32" or device not in ("auto", "cpu"):
            raise ArgumentError("covtool bench retrieval runs on the CPU, in float32.")
        result = _retrieval(shape, search, repetitions, metric=metric, max_memory=max_memory)
        _show(result, bench_tables.show_retrieval, as_json=as_json)
        return
    import torch

    from covtool.backbones.device import resolve_device

    if tf32:
        torch.set_float32_matmul_precision("high")
    common = {"device": resolve_device(device), "dtype": dtype, "repetitions": repetitions or 15}
    layout = {"compiled": compiled, "channels_last": channels_last}
    if benchmark == "heads":
        result, show = _heads(shape, head, common), bench_tables.show_heads
    elif benchmark == "convs":
        result, show = _convolutions(shape, conv, common | layout), bench_tables.show_convolutions
    elif benchmark == "step":
        result = _optimizer_steps(network, shape, opt, common | layout)
        show = bench_tables.show_optimizer_steps
    else:
        result, show = _steps(step, step_shape, conv, common | layout), bench_tables.show_steps
    _show(result, show, as_json=as_json)


def _show(result: Any, show: Callable[[Any], None], *, as_json: bool) -> None:
    render.json_object(result) if as_json else show(result)


def _data(data: Path | None, settings: dict[str, Any]) -> Any:
    from covtool.benchmarking.data_loading import LoadingBenchmarkSpec, benchmark_loading

    given = {name: value for name, value in settings.items() if value is not None}
    return benchmark_loading(data, spec=LoadingBenchmarkSpec(**given), track=render.track)


def _refuse_untaken(benchmark: str, given: dict[str, object]) -> None:
    for flag, value in given.items():
        if value and flag not in TAKEN[benchmark]:
            takers = [f"covtool bench {name}" for name, flags in TAKEN.items() if flag in flags]
            raise ArgumentError(
                f"covtool bench {benchmark} takes no {flag}.",
                hint=f"It belongs to {' and '.join(takers)}.",
            )


def _heads(shapes: list[str] | None, heads: list[str] | None, common: dict[str, Any]) -> Any:
    from covtool.benchmarking.heads import SHAPES, benchmark_heads

    return benchmark_heads(shapes or SHAPES, heads=heads, track=render.track, **common)


def _convolutions(
    shapes: list[str] | None, operators: list[str] | None, settings: dict[str, Any]
) -> Any:
    from covtool.benchmarking.convolutions import SHAPES, benchmark_convolutions
    from covtool.benchmarking.inputs import BenchmarkSpec

    return benchmark_convolutions(
        shapes or SHAPES, operators=operators, spec=BenchmarkSpec(**settings), track=render.track
    )


def _steps(
    model: str, shape: str | None, operators: list[str] | None, settings: dict[str, Any]
) -> Any:
    from covtool.benchmarking.inputs import BenchmarkSpec
    from covtool.benchmarking.training_steps import SHAPE, benchmark_steps

    spec = BenchmarkSpec(**settings)
    return benchmark_steps(
        model, shape or SHAPE, operators=operators, spec=spec, track=render.track
    )


def _optimizer_steps(
    network: str | None,
    shapes: list[str] | None,
    optimizers: list[str] | None,
    settings: dict[str, Any],
) -> Any:
    from covtool.benchmarking.inputs import BenchmarkSpec
    from covtool.benchmarking.optimizer_steps import (
        NETWORK,
        OPTIMIZERS,
        SHAPE,
        benchmark_optimizer_steps,
    )

    return benchmark_optimizer_steps(
        network or NETWORK,
        shapes or (SHAPE,),
        optimizers=optimizers or OPTIMIZERS,
        spec=BenchmarkSpec(**settings),
        track=render.track,
    )


def _retrieval(
    shapes: list[str] | None,
    searches: list[str] | None,
    repetitions: int,
    **settings: str | None,
) -> Any:
    known = ("exact", "rerank")
    unknown = [name for name in searches or () if name not in known]
    if unknown:
        raise UnknownVariantError("search", unknown[0], known)
    spec = options.validated(
        RetrievalSpec, {name: value for name, value in settings.items() if value is not None}
    )
    from covtool.benchmarking.retrieval import SEARCHES, SHAPE, benchmark_retrieval

    return benchmark_retrieval(
        shapes or [SHAPE],
        searches=searches or SEARCHES,
        spec=spec,
        repetitions=repetitions,
        track=render.track,
    )
