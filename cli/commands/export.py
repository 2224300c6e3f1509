"""`covtool export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.atomic.formats import require_program_name
from covtool.printable import printable
from covtool.specs import InputOverrides, ModelSource
from covtool_cli import first_checks, loading, options

if TYPE_CHECKING:
    from covtool.exporting import ExportResult
    from covtool.exporting.records import Comparison

MEGABYTE = 1e6


def _named(ctx: typer.Context, path: Path) -> Path:
    """Refuse a name that is not a program's; a folder for timm may have any."""
    if ctx.params.get("format") != "timm":
        require_program_name(path)
    return path


Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        callback=_named,
        help="File to write, .onnx or .pt2; or a folder, with --format timm.",
    ),
]
Format = Annotated[
    Literal["onnx", "torch", "timm"] | None,
    # Eager: the name of the output is judged by it.
    typer.Option(is_eager=True, help="Format; default: that of the output's suffix."),
]
Preprocess = Annotated[
    bool,
    typer.Option(
        "--preprocess",
        help="Take pixels, (batch, height, width, channels) in uint8: scaling and normalization "
        "become part of the program.",
    ),
]
Half = Annotated[
    bool, typer.Option("--half", help="Compute in float16; input and output stay float32.")
]
Int8 = Annotated[
    bool,
    typer.Option("--int8", help="Compute convolutions and linear layers in int8 (onnx)."),
]
Calibrate = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data set whose training images set the ranges of --int8."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Images to compare the program with the model on, with or without labels; default: "
        "random ones.",
    ),
]
Images = Annotated[
    int, typer.Option(min=1, help="Images to take of --data and of --calibrate, at most.")
]
Root = Annotated[
    Literal["newton-schulz"] | None,
    typer.Option(help="Iteration in the place of a solver, which ONNX does not have."),
]
Iterations = Annotated[
    int | None, typer.Option(min=1, max=100, help="Steps of --root newton-schulz; default: 15.")
]
Opset = Annotated[int | None, typer.Option(help="ONNX operator set, 18 to 23; default: 18.")]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Largest difference over the spread of the logits (default: 0.001, with --half 0.1); "
        "with --int8 the share of other answers (default: 0.1).",
    ),
]


@options.takes(input=InputOverrides)
def command(
    ctx: typer.Context,
    model: options.Model,
    output: Output,
    input: InputOverrides,
    format: Format = None,
    preprocess: Preprocess = False,
    half: Half = False,
    int8: Int8 = False,
    calibrate: Calibrate = None,
    data: Data = None,
    images: Images = 200,
    root: Root = None,
    iterations: Iterations = None,
    opset: Opset = None,
    tolerance: Tolerance = None,
    arch: options.Arch = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    on_bad_image: options.OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a model as an ONNX file, a torch.export program or a timm folder.

    The file is run and compared with the model before it gets its name.

    Example: covtool export net.safetensors -o net.onnx --preprocess --data birds/
    """
    if output is not None and output.suffix:  # a folder is a format of its own
        first_checks.require_outputs(output, overwrite=overwrite)
    first_checks.require_models(model)
    first_checks.require_data(data)
    with loading.libraries(as_json=as_json):
        from covtool.exporting import ExportRequest, export
        from covtool_cli import render

    source = ModelSource(
        name=model,
        arch=arch,
        weights=weights,
        classifier_layer=classifier_layer,
        input=input.changes(),
    )
    done = export(options.request(ctx, ExportRequest, source=source), track=render.track)
    for path, reason in done.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")
    render.json_object(done) if as_json else _show(done)


# Seldom needed, and named by the notes that they are for: a file of ours says all of it itself.
for _parameter in command.__signature__.parameters.values():
    if _parameter.name in InputOverrides.model_fields:
        _parameter.annotation.__metadata__[0].hidden = True


def _show(done: "ExportResult") -> None:
    from covtool_cli import render

    render.pairs(
        "Exported",
        [
            ("file" if done.interface else "folder", done.path),
            ("size", f"{done.num_bytes / MEGABYTE:,.1f} MB"),
            ("format", _format(done)),
            ("precision", _precision(done)),
            *_interface(done),
            *([("temperature of predictions", done.temperature)] if done.temperature else []),
        ],
    )
    if done.root is not None:
        _show_root(done)
    _show_proof(done)
    if not done.speed:
        return
    rows = [
        (speed.batch_size, speed.torch_ms, speed.exported_ms, speed.ratio) for speed in done.speed
    ]
    columns = ("batch", "model in torch (ms)", "program (ms)", "times as fast")
    threads = "1 thread" if done.threads == 1 else f"{done.threads} threads"
    render.table(f"Speed on the CPU, {threads}, medians", columns, rows)


def _format(done: "ExportResult") -> str:
    return done.format if done.opset is None else f"{done.format}, opset {done.opset}"


def _precision(done: "ExportResult") -> str:
    if not done.quantized:
        return done.precision
    return f"{done.precision}: {done.quantized} layers; the rest float32"


def _interface(done: "ExportResult") -> list[tuple[str, str]]:
    if done.interface is None:
        return []
    face = done.interface
    shape = ", ".join(map(str, face.shape))
    what = "scaled and normalized inside" if face.normalizes else "normalized beforehand"
    return [
        ("input", f"{face.input}: {face.dtype} ({shape}), {what}"),
        ("output", f"{face.output}: float32 (batch, {done.num_classes})"),
    ]


def _show_root(done: "ExportResult") -> None:
    from covtool_cli import render

    root = done.root
    heads = ", ".join(f"{path}: {function}" for path, function in root.heads.items())
    render.pairs(
        f"Newton-Schulz, {root.iterations} steps, in the place of a solver",
        [("computed", heads), *_differences(root.loss)],
    )


def _show_proof(done: "ExportResult") -> None:
    from covtool_cli import render

    proof = done.proof
    allowed = "of the images" if done.precision == "int8" else "of the spread"
    render.pairs(
        "The program against the model" if done.interface else "What timm opens against the model",
        [
            ("images", f"{proof.images} {f'of {proof.data}' if proof.data else 'random ones'}"),
            ("batches of", " and ".join(map(str, proof.batch_sizes))),
            *_differences(proof),
            ("allowed", f"{done.tolerance:g} {allowed}"),
        ],
    )


def _differences(compared: "Comparison") -> list[tuple[str, object]]:
    relative = f"{compared.relative_difference:.2g} of their spread"
    rows = [("largest difference of logits", f"{compared.largest_difference:.2g}, {relative}")]
    if compared.agreement is not None:
        rows.append(("same answer", f"{compared.agreement:.1f} %"))
    return rows
