"""`covtool index`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic.formats import require_index_name
from covtool.errors import ArgumentError
from covtool.indexing.places import require_index
from covtool.printable import printable
from covtool.specs import InputOverrides
from covtool.specs.indexing import IndexSpec
from covtool_cli import first_checks, loading, options

if TYPE_CHECKING:
    from covtool.indexing.making import IndexResult

Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|INDEX",
        help="A model, to make an index with: a covtool file, a run's folder, a checkpoint or a "
        "name. Or an index, to change it.",
    ),
]
Images = Annotated[
    list[Path] | None,
    typer.Argument(help="Data sets, folders, CSV or .txt lists, images."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_index_name),
        help="File to write: .index.",
    ),
]
Add = Annotated[bool, typer.Option("--add", help="Add IMAGES to INDEX.")]
Remove = Annotated[bool, typer.Option("--remove", help="Remove IMAGES, or folders, from INDEX.")]
OwnModel = Annotated[
    str | None, typer.Option(help="Where INDEX's own model is now; default: where it was.")
]
Split = Annotated[
    str | None, typer.Option(help="Split to take: train, val, query, gallery, test; default: all.")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace an existing index, or images that are in INDEX."),
]


@options.takes(spec=IndexSpec)
def command(
    ctx: typer.Context,
    source: Source,
    spec: IndexSpec,
    images: Images = None,
    output: Output = None,
    add: Add = False,
    remove: Remove = False,
    model: OwnModel = None,
    split: Split = None,
    arch: options.Arch = None,
    weights: options.Weights = "auto",
    img_size: Annotated[str | None, typer.Option(help="Height and width: 224, or 256x128.")] = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    config: options.Config = None,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Make a file of images' features to search in, add images to one, or remove images.

    Example: covtool index net.safetensors market1501/bounding_box_test -o gallery.index
    """
    changes = _is_change(ctx, source)
    paths = tuple(images or ())
    if changes:
        require_index(Path(source))
        first_checks.require_models(model)
    else:
        first_checks.require_outputs(output, overwrite=overwrite)
        first_checks.require_model_before(paths, source)
    if not remove:  # of images that are removed, the files may be gone
        first_checks.require_images(paths)
    with loading.libraries(as_json=as_json):
        from covtool.indexing.building import IndexRequest, build_index
        from covtool.indexing.changing import IndexChange, change_index
        from covtool.indexing.fingerprint import require_one_process
        from covtool_cli import render

    require_one_process()
    if changes:
        kept = None if model is None else options.model_source(ctx, model, InputOverrides())
        request = options.request(
            ctx,
            IndexChange,
            source=kept,
            index=Path(source),
            spec=spec,
            add=paths if add else (),
            remove=paths if remove else (),
        )
        done = change_index(request, track=render.track)
    else:
        size = options.validated(InputOverrides, {"img_size": img_size})
        request = options.request(
            ctx,
            IndexRequest,
            source=options.model_source(ctx, source, size),
            images=paths,
            output=output,
            spec=spec,
        )
        done = build_index(request, track=render.track)
    _show_remarks(done)
    render.json_object(done) if as_json else _show(done)


def _is_change(ctx: typer.Context, source: str) -> bool:
    """Return whether an index is changed, not made.

    Raises:
        ArgumentError: What is asked for does not go together.
    """
    given = ctx.params
    if given["add"] and given["remove"]:
        raise ArgumentError(
            "--add and --remove do not go together.", hint="Give two commands, one after the other."
        )
    changes = Path(source).suffix.lower() == ".index"
    asked = next((f"--{name}" for name in ("add", "remove") if given[name]), None)
    if not changes:
        _require_making(source, asked, given)
        return False
    own = ("output", "arch", "weights", "img_size")
    useless = next((name for name in own if options.is_given(ctx, name)), None)
    if useless is not None:
        raise ArgumentError(
            f"--{useless.replace('_', '-')} has no effect on an index that is there: {source} is "
            "changed, with its own model.",
            hint="Leave it out, or name a model in place of the index.",
        )
    if asked is None and (given["images"] or not (given["threshold"] or given["faiss"])):
        raise ArgumentError(
            f"{source} is an index, not a model.",
            hint=f"Change it: covtool index {source} IMAGES --add (or --remove), or covtool index "
            f"{source} --threshold auto. Or name a model in its place.",
        )
    if asked is not None and not given["images"]:
        raise ArgumentError(f"{asked} needs images.", hint="Name folders, lists or images.")
    return True


def _require_making(source: str, asked: str | None, given: dict[str, object]) -> None:
    if asked is not None:
        raise ArgumentError(
            f"{asked} changes an index, and {printable(source)} is not the name of one.",
            hint=f"Give the index first: covtool index gallery.index IMAGES {asked}.",
        )
    if given["model"] is not None:
        raise ArgumentError(
            "--model is for an index that is changed.", hint="Name the model once, in front."
        )
    if given["output"] is None:
        raise ArgumentError("There is no name for the index.", hint="Add -o gallery.index.")


def _show_remarks(done: "IndexResult") -> None:
    from covtool_cli import render

    for path, reason in done.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")


def _show(done: "IndexResult") -> None:
    from covtool_cli import render

    record = done.record
    changed = [("replaced", done.replaced), ("removed", done.removed)]
    render.pairs(
        render.marked("Index written", far=done.far_from_training),
        [
            ("images", done.images),
            *([("added", done.added)] if done.added != done.images else []),
            *((name, count) for name, count in changed if count),
            ("left out, unreadable", len(done.unreadable)),
            ("numbers per image", f"{done.num_features:,}, {record.feature}"),
            ("distance", record.metric),
            ("model", record.model.name),
            ("fingerprint", record.fingerprint[:16]),
            ("paths relative to", record.root),
            *_threshold_pairs(done),
            *_inverted_pairs(done),
            ("device", done.device),
            ("file", done.path),
        ],
    )


def _threshold_pairs(done: "IndexResult") -> list[tuple[str, object]]:
    kept = done.record.threshold
    if kept is None:
        return [("threshold", "none: every query gets its nearest images")]
    return [
        ("threshold", f"{kept.distance:.4g}, chosen on {kept.data}"),
        ("false accepts", f"{100 * kept.false_accept_rate:g} % of {kept.different_pairs:,} pairs"),
        ("true accepts", f"{100 * kept.true_accept_rate:.2f} % of {kept.same_pairs:,} pairs"),
    ]


def _inverted_pairs(done: "IndexResult") -> list[tuple[str, object]]:
    kept = done.record.inverted_file
    if kept is None:
        return []
    recall = f"{100 * kept.recall:.1f} % of the nearest {kept.recall_at}"
    return [
        ("inverted file", kept.file),
        ("finds", f"{recall}, in {kept.probed} of {kept.lists} lists"),
    ]
