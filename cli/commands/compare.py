"""`covtool compare`."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic import require_suffix, require_writable
from covtool.atomic.formats import FIGURES, MODELS
from covtool.errors import ArgumentError
from covtool.printable import printable
from covtool.specs import LayoutSpec
from covtool.specs.byte_amounts import format_bytes
from covtool.specs.comparing import ComparedImages, CompareSpec
from covtool_cli import first_checks, loading, options, render

if TYPE_CHECKING:
    from covtool.comparing import (
        ComparedRow,
        CompareRequest,
        Comparison,
        Estimate,
        PreparedComparison,
    )
    from covtool.conversion import ConversionResult

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="CKPT...",
        help="Checkpoints, timm names, torchvision:NAME, hf-hub:ORG/NAME, covtool files.",
    ),
]


def _require_name(paths: list[Path] | None) -> list[Path]:
    for path in paths or []:
        require_suffix(path, (*FIGURES, *MODELS), what="a picture, or the model of --convert")
    return paths or []


Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        callback=_require_name,
        help="Figure to draw, accuracy against cost: .svg, .png, .pdf. Or the file that --convert "
        "writes: .safetensors. May be given twice.",
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        callback=options.named_by(options.require_csv), help="CSV file to write, all rows."
    ),
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that keeps feature maps: an interrupted comparison goes on from it, and "
        "another one with more heads starts from it.",
    ),
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert", help="Convert the recommended row, and check that it has its figure."
    ),
]


@options.takes(spec=CompareSpec, images=ComparedImages, layout=LayoutSpec)
def command(
    ctx: typer.Context,
    sources: Models,
    data: options.Data,
    spec: CompareSpec,
    images: ComparedImages,
    layout: LayoutSpec,
    output: Output = None,
    csv: Csv = None,
    convert: Convert = False,
    work: Work = None,
    arch: options.Arch = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    wide: options.Wide = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Choose a head before training: heads, taps, models and image sizes side by side.

    Example: covtool compare resnet50.pth efficientnet_b0 --data birds/ -o birds.svg
    """
    model, figure = _outputs(output or [], convert=convert)
    _require(model, figure, csv, overwrite=overwrite)
    first_checks.require_folders(work)
    first_checks.require_heads(spec.head)
    first_checks.require_models(*sources)
    first_checks.require_data(data)
    with loading.libraries(as_json=as_json):
        from covtool import comparing

    request = options.request(
        ctx,
        comparing.CompareRequest,
        sources=tuple(options.model_source(ctx, name, images) for name in sources),
        img_sizes=images.sizes,
        spec=spec,
        layout=layout,
    )
    prepared = comparing.prepare_comparison(request, track=render.track)
    _tell(prepared)
    done = comparing.compare_prepared(prepared, track=render.track)
    done = _written(done, csv, figure, overwrite=overwrite)
    for text in done.notes[len(prepared.notes) :]:
        render.note(f"note: {text}")
    if not as_json:
        _show(done, wide=wide)
    converted = _convert(request, done, model, overwrite=overwrite) if convert else None
    if as_json:
        render.json_object({"comparison": done, "converted": converted})
        return
    for path in filter(None, (csv, figure)):
        render.line(f"wrote {path}")
    if converted is not None:
        render.line(f"wrote {converted.path}: {_agreement(done, converted)}")
        _tell_untold(done, converted)


def _require(model: Path | None, figure: Path | None, csv: Path | None, *, overwrite: bool) -> None:
    """Refuse outputs that could not be written, before anything is computed."""
    for path in filter(None, (model, figure, csv)):
        require_writable(path, overwrite=overwrite)
    if figure is not None:
        from covtool.plotting.figure_file import house_style

        with house_style():  # asks for matplotlib
            pass


def _tell(prepared: "PreparedComparison") -> None:
    for path, reason in prepared.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in prepared.notes:
        render.note(f"note: {text}")
    for estimate in prepared.estimates:
        render.note(_estimated(estimate, len(prepared.samples)))


def _written(
    done: "Comparison", csv: Path | None, figure: Path | None, *, overwrite: bool
) -> "Comparison":
    """Write the files, and return the comparison with notes on what could not be drawn."""
    if csv is not None:
        from covtool.comparing import write_table

        write_table(done, csv, overwrite=overwrite)
    if figure is None:
        return done
    from covtool.plotting.comparison import plot_comparison

    drawn = plot_comparison(done, figure, overwrite=overwrite)
    return replace(done, notes=(*done.notes, *drawn.notes))


def _outputs(paths: list[Path], *, convert: bool) -> tuple[Path | None, Path | None]:
    """Return the model's file and the figure's, as far as there are any."""
    models = [path for path in paths if path.suffix.lower() in MODELS]
    figures = [path for path in paths if path not in models]
    if max(len(models), len(figures)) > 1:
        raise ArgumentError("-o takes one figure, and one file for --convert.")
    if models and not convert:
        raise ArgumentError(
            f"{models[0]} would be a model, and nothing is converted.",
            hint="Add --convert, or name a figure, like -o compare.svg.",
        )
    return next(iter(models), None), next(iter(figures), None)


def _estimated(estimate: "Estimate", images: int) -> str:
    size = "x".join(map(str, estimate.img_size))
    where = "kept in memory" if estimate.place == "memory" else "kept in files"
    return (
        f"{printable(estimate.checkpoint)} at {size}: {render.counted(estimate.heads, 'head')} on "
        f"{render.counted(images, 'image')}, feature maps of "
        f"{format_bytes(estimate.maps_bytes)}, {where}"
    )


def _convert(
    request: "CompareRequest", done: "Comparison", output: Path | None, *, overwrite: bool
) -> "ConversionResult":
    from covtool.conversion.of_comparison import conversion_of, convert_row

    row = done.recommended
    asked = conversion_of(request, row, output=output, overwrite=overwrite)
    return convert_row(asked, row, metric=done.metric, track=render.track)


def _agreement(done: "Comparison", converted: "ConversionResult") -> str:
    calibration = converted.calibration
    top_1 = f"left-out top-1 {calibration.left_out_top_1:.2f} %"
    # For retrieval the comparison says something else, which is no figure of the file.
    return top_1 if done.recommended.rank_1 is not None else f"{top_1}, as estimated"


def _tell_untold(done: "Comparison", converted: "ConversionResult") -> None:
    """Show the notes of a conversion that the comparison did not have."""
    name = done.recommended.checkpoint
    for text in dict.fromkeys((*converted.plan.notes, *converted.notes)):
        # Of several models, those of each have its name before them.
        if text not in done.notes and f"{name}: {text}" not in done.notes:
            render.note(f"note: {text}")


def _title(done: "Comparison") -> str:
    images = render.counted(done.images, "image")
    if done.queries is None:
        of_what = f"{images} of {render.counted(done.classes, 'class', 'classes')}"
    else:
        queries = render.counted(done.queries, "query", "queries")
        identities = render.counted(done.classes, "identity", "identities")
        of_what = f"{queries} in {images} of {identities}"
    return f"{done.metric}, {done.data}: {of_what}"


def _show(done: "Comparison", *, wide: bool) -> None:
    from covtool.comparing.records import on_approximate

    columns = list(_columns(done, wide=wide))
    rows = [[cell for _, cell in _cells(row, done.metric, wide=wide)] for row in done.rows]
    render.table(_title(done), columns, rows)
    if not wide and render.stdout().is_terminal:  # a hint for people, not for a file or a program
        render.note(
            "note: --wide shows ranges of the differences, loss, features, parameters, memory."
        )
    for row in done.left_out:
        render.note(f"left out: {row.label}: {row.reason}")
    row, cheapest = done.recommended, done.cheapest
    if approximate := on_approximate(done.rows):
        render.line(approximate)
    render.line(_on_noise(done))
    render.line(f"-> the cheapest within one standard error of the best: {row.label}")
    render.line(f"  {shlex.join(row.command)}")
    if cheapest != row:
        render.line(
            f"The cheapest of those marked *: {cheapest.label}, {cheapest.difference:.1f} points, "
            f"{cheapest.gflops:.2f} in place of {row.gflops:.2f} GFLOPs"
        )
    if (likeliest := done.likeliest) not in (None, row):
        render.line(
            f"The smallest left-out loss: {likeliest.label}, {_loss(likeliest)} in place of "
            f"{_loss(row)}"
        )
    spent = done.seconds
    render.note(
        f"{spent.passes:.0f} s for feature maps, {spent.heads:.0f} s for heads, "
        f"{spent.speed:.0f} s for durations and memory, {spent.intervals:.0f} s for intervals"
    )


def _on_noise(done: "Comparison") -> str:
    """Return what ``*`` means."""
    rows = render.counted(len(done.rows), "row")
    if not done.recommended.has_interval:
        of_what = "images" if done.queries is None else "identities"
        return f"* too few {of_what} to tell from the best, no interval can be given: all of {rows}"
    near = sum(row.near_best for row in done.rows)
    return (
        "* within the noise of the best, 0 lies in the interval of the difference: "
        f"{near} of {rows}"
    )


def _columns(done: "Comparison", *, wide: bool) -> Iterator[str]:
    for title, _ in _cells(done.rows[0], done.metric, wide=wide):
        yield title


def _cells(row: "ComparedRow", metric: str, *, wide: bool) -> Iterator[tuple[str, str]]:
    """Yield titles and cells of a row; without `wide`, as many as fit into 80 columns."""
    marks = ("->" if row.recommended else "", "*" if row.near_best else "")
    yield "", " ".join(filter(None, marks))
    yield "head", row.label
    yield f"{metric} (%)", f"{'' if row.projected_to is None else '~'}{row.figure:.1f}"
    yield "95 %", _ends(row.interval)
    yield "to the best", f"{row.difference:.1f}"
    if wide:
        yield "95 %", _ends(row.difference_interval)
    if row.rank_1 is not None:
        yield "rank-1 (%)", f"{row.rank_1:.1f}"
    if wide:
        if row.rank_1 is None:
            yield "loss", _loss(row)
        yield "features", f"{row.features:,}"
        yield "parameters", f"{row.parameters:,}"
    yield "GFLOPs", f"{row.gflops:.2f}"
    yield "ms", f"{row.ms_per_image:.1f}"
    if wide:
        yield "MiB", f"{row.memory_mib:.0f}"


def _loss(row: "ComparedRow") -> str:
    return "none" if row.left_out_loss is None else f"{row.left_out_loss:.3f}"


def _ends(interval: tuple[float, float]) -> str:
    low, high = interval
    return "-" if low != low else f"{low:.1f} to {high:.1f}"
