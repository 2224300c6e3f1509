"""`covtool data`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.atomic import require_writable
from covtool.errors import ArgumentError, DataError
from covtool.printable import first_few, printable
from covtool.specs import InputOverrides, LayoutSpec
from covtool.specs.auditing import AuditSpec
from covtool_cli import first_checks, loading, options, render

if TYPE_CHECKING:
    from covtool.auditing import Audit, Audited, CleanList

SHOWN = 10  # rows of a table, of classes or of images
FORMS = ((20, None), (10, None), (0, None), (0, 40), (0, 24), (0, 16))
"""Characters of the longest bar and of the longest name of a class, from wide to narrow."""

Root = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder with a folder per class, with train/ and val/, a CSV, a published data set, "
        "data for retrieval, or a folder of images.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model whose features tell labels in doubt and images unlike others: a file, or a "
        "timm name."
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        help="predictions.csv of covtool finetune --folds: labels in doubt by it, not by --model."
    ),
]
TaskOption = Annotated[
    Literal["classification", "retrieval"] | None,
    typer.Option(help="What the data is for. Default: what its names say."),
]


Csv = Annotated[
    Path | None,
    typer.Option(
        callback=options.named_by(options.require_csv), help="CSV file to write, a row an image."
    ),
]
WriteClean = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        callback=options.named_by(options.require_csv),
        help="CSV file to write for --data: the images without those in doubt. Nothing is deleted.",
    ),
]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder to write a page into, with pictures.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with code 4 if images to test on are trained on.")
]


@options.takes(spec=AuditSpec, images=InputOverrides, layout=LayoutSpec)
def command(
    ctx: typer.Context,
    data: Root,
    spec: AuditSpec,
    images: InputOverrides,
    layout: LayoutSpec,
    model: Model = None,
    predictions: Predictions = None,
    csv: Csv = None,
    write_clean: WriteClean = None,
    report: Report = None,
    strict: Strict = False,
    task: TaskOption = None,
    arch: options.Arch = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    max_image_pixels: options.MaxImagePixels = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Look through a data set: duplicates, broken files, uneven classes, doubtful labels.

    Example: covtool data birds/ --model resnet50.a1_in1k --report birds-report
    """
    _require_outputs(csv, write_clean, report, overwrite=overwrite)
    first_checks.require_models(model)
    first_checks.require_data(data)
    with loading.libraries(as_json=as_json):
        from covtool import auditing

    source = None if model is None else options.model_source(ctx, model, images)
    asked = {"model": source, "spec": spec, "layout": layout}
    request = options.request(ctx, auditing.AuditRequest, **asked)
    done = auditing.look_through(request, track=render.track)
    clean = None
    if csv is not None:
        auditing.write_image_table(done, csv, overwrite=overwrite)
    if write_clean is not None:
        clean = auditing.write_clean_list(done, write_clean, overwrite=overwrite)
    page = None if report is None else _write_page(done, report, overwrite=overwrite)
    for text in (*done.audit.notes, *(() if clean is None else clean.notes)):
        render.note(f"note: {text}")
    if as_json:
        render.json_object({"audit": done.audit, "clean": clean})
    else:
        _show(done.audit)
        for path in filter(None, (csv, page)):
            render.line(f"wrote {path}")
        if clean is not None:
            render.line(_of_clean(clean))
    if strict and done.audit.leaks:
        raise _leaking(done.audit)


def _require_outputs(
    csv: Path | None, write_clean: Path | None, report: Path | None, *, overwrite: bool
) -> None:
    """Refuse outputs that cannot be written, before minutes are spent on the images."""
    for path in filter(None, (csv, write_clean)):
        require_writable(path, overwrite=overwrite)
    if csv is not None and write_clean is not None and csv.resolve() == write_clean.resolve():
        raise ArgumentError(
            f"--csv and --write-clean are both {csv}.",
            hint="Give each a name of its own: one would replace the other.",
        )
    if report is not None:
        from covtool.pages import require_outside
        from covtool.reporting.data_page import require_data_page

        require_outside(report, csv, write_clean)
        require_data_page(report, overwrite=overwrite)


def _write_page(done: "Audited", folder: Path, *, overwrite: bool) -> Path:
    from covtool.reporting.data_page import write_data_page

    return write_data_page(done, folder, overwrite=overwrite, track=render.track)


def _leaking(audit: "Audit") -> DataError:
    return DataError(
        f"{audit.root} leaks: images to test on are trained on, or find themselves.",
        reason=" ".join(finding.text for finding in audit.leaks),
        hint="--write-clean FILE.csv writes a list without the copies that are trained on.",
    )


def _show(audit: "Audit") -> None:
    render.pairs(f"{audit.root}: {audit.layout}", _facts(audit))
    if audit.classes:
        _show_classes(audit)
    if audit.left_out:
        rows = [(suffix, count, why) for suffix, (count, why) in audit.left_out.items()]
        render.table("Files left out", ("suffix", "files", "reason"), rows)
    if not audit.findings:
        render.line("Nothing stands out.")
    for finding in audit.findings:
        render.line(f"{finding.severity}: {finding.text}")
        for example in finding.examples[:2]:
            render.line(f"  {example}")
        if finding.count > 2 and len(finding.examples) > 2:
            render.line("  ...")
    if audit.suspects:
        rows = [
            (f"{one.margin:.2f}", Path(one.path).name, one.label, one.suggested)
            for one in audit.suspects[:SHOWN]
        ]
        columns = ("by", "image", "label", "looks like")
        render.table(f"Labels in doubt, {_first(audit.suspects)}", columns, rows)


def _facts(audit: "Audit") -> Iterator[tuple[str, object]]:
    yield "read so because", audit.why
    each = ", ".join(f"{count:,} in {printable(name)}" for name, count in audit.splits.items())
    yield "images", f"{audit.images:,}" if len(audit.splits) == 1 else f"{audit.images:,}: {each}"
    yield "identities" if audit.task == "retrieval" else "classes", len(audit.classes)
    if audit.cameras is not None:
        yield "cameras", audit.cameras
    if audit.sizes is not None:
        (least, median, most), (low, middle, high) = audit.sizes.width, audit.sizes.height
        yield "width", f"{least:,} to {most:,}, median {median:,}"
        yield "height", f"{low:,} to {high:,}, median {middle:,}"
        yield "formats", ", ".join(f"{name} {count:,}" for name, count in audit.formats.items())
        yield "modes", ", ".join(f"{name} {count:,}" for name, count in audit.modes.items())
    if audit.unreadable:
        yield "cannot be read", len(audit.unreadable)


def _show_classes(audit: "Audit") -> None:
    """Show the largest and the smallest classes, with bars as long as their images are many."""
    order = sorted(audit.classes, key=lambda one: -sum(one.images))
    most = sum(order[0].images)
    chosen = order if len(order) <= SHOWN else [*order[: SHOWN // 2], *order[-SHOWN // 2 :]]
    what = "identities" if audit.task == "retrieval" else "classes"
    few = "" if len(order) <= SHOWN else f", the largest and the smallest of {len(order):,}"

    def table(bar: int, longest: int | None) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        columns = (what, *audit.splits, *[""] * bool(bar))
        return columns, [
            (
                _cut(one.name, longest),
                *one.images,
                *["#" * round(bar * sum(one.images) / most)] * bool(bar),
            )
            for one in chosen
        ]

    tables = [table(*form) for form in FORMS]
    # With names in full where none is narrow enough: it becomes a list, which has the room.
    fitting = next((one for one in tables if render.fits(*one)), tables[0])
    render.table(f"Images of {what}{few}", *fitting)


def _cut(name: str, longest: int | None) -> str:
    """Return a name without its middle: names of classes often differ at the end."""
    if longest is None or len(name) <= longest:
        return name
    half = (longest - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _first(rows: Sequence[object]) -> str:
    return "all" if len(rows) <= SHOWN else f"the first {SHOWN} of {len(rows):,}"


def _of_clean(clean: "CleanList") -> str:
    left_out = [f"{count:,} {why}" for why, count in clean.left_out.items()]
    without = f", without {first_few(left_out, len(left_out))}" if left_out else ""
    return f"wrote {clean.path}: {clean.images:,} images{without}"
