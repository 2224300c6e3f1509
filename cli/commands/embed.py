"""`covtool embed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic import require_feature_name
from covtool.printable import printable
from covtool.specs import FeatureSpec, InputOverrides, LaunchSpec
from covtool_cli import first_checks, launching, loading, options

if TYPE_CHECKING:
    from covtool.evaluation.embed import EmbedResult

Images = Annotated[
    Path,
    typer.Argument(
        help="A data set, any folder, a CSV with the column path, a .txt with a path per line, or "
        "an image."
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_feature_name),
        help="File to write: .safetensors, .npz or .csv.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(help="Split to read: train, val, query, gallery, test; default: all."),
]


@options.takes(description=FeatureSpec, input=InputOverrides, launch=LaunchSpec)
def command(
    ctx: typer.Context,
    model: options.Model,
    images: Images,
    output: Output,
    description: FeatureSpec,
    input: InputOverrides,
    launch: LaunchSpec,
    split: Split = None,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    amp: options.Amp = False,
    amp_dtype: options.AmpDtype = "float16",
    on_bad_image: options.OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    max_image_pixels: options.MaxImagePixels = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a model's features of images to a file.

    With the images' paths, identities, cameras and splits, as far as they are known.

    Example: covtool embed net.safetensors market1501/ -o features.safetensors
    """
    first_checks.require_outputs(output, overwrite=overwrite)
    first_checks.require_model_before([images], model)
    first_checks.require_images([images])
    launching.run_in_processes(ctx, launch)
    with loading.libraries(as_json=as_json):
        from covtool.evaluation.embed import EmbedRequest, embed
        from covtool_cli import render

    source = options.model_source(ctx, model, input)
    asked = {"source": source, "spec": description, "launch": launch}
    request = options.request(ctx, EmbedRequest, **asked)
    done = embed(request, track=render.track)
    _show_remarks(done)
    render.json_object(done) if as_json else _show(done)


def _show_remarks(done: "EmbedResult") -> None:
    from covtool_cli import render

    for path, reason in done.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")


def _show(done: "EmbedResult") -> None:
    from covtool_cli import render

    what = f"the input of {done.layer}" if done.layer else "the output of the model"
    render.pairs(
        render.marked("Features written", far=done.far_from_training),
        [
            *((f"images, {split}", count) for split, count in done.images.items()),
            ("left out, unreadable", len(done.unreadable)),
            ("numbers per image", f"{done.num_features:,}, {what}"),
            ("device", done.device),
            ("file", done.path),
        ],
    )
