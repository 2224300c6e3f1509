"""`covtool convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic import require_model_name
from covtool.checkpoints.naming import converted_name
from covtool.errors import ArgumentError
from covtool.printable import printable
from covtool.specs import (
    ConvertSpec,
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputOverrides,
    LastStrideSpec,
    LaunchSpec,
    LayoutSpec,
    Operation,
    as_flag,
)
from covtool.variant_names import require_variant
from covtool_cli import first_checks, launching, loading, options, render

if TYPE_CHECKING:
    from covtool.conversion import ConversionPlan, ConversionResult, ConvolutionsReport
    from covtool.surgery.calibrated import CalibrationResult

MAX_KEYS_SHOWN = 6
CALIBRATING = ("calibrate_images", "calibrate_memory", "radius_quantile")

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_model_name),
        help="File to write; default: STEM-WHAT.safetensors here.",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(help="YAML or JSON file with the operations to do, in place of options."),
]
ClassesOf = Annotated[
    Path | None, typer.Option(help="Data set whose classes the new classifier gets.")
]
Calibrate = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Data set whose training images set a new head and new operators in closed form.",
    ),
]
Plan = Annotated[bool, typer.Option("--plan", help="Show what would be done; write nothing.")]


@options.takes(
    head=HeadSpec,
    conv=ConvolutionSpec,
    spec=ConvertSpec,
    images=InputOverrides,
    layout=LayoutSpec,
    launch=LaunchSpec,
)
def command(
    ctx: typer.Context,
    source: options.Model,
    head: HeadSpec,
    conv: ConvolutionSpec,
    spec: ConvertSpec,
    images: InputOverrides,
    layout: LayoutSpec,
    launch: LaunchSpec,
    output: Output = None,
    recipe: RecipeFile = None,
    data: ClassesOf = None,
    calibrate: Calibrate = None,
    plan: Plan = False,
    arch: options.Arch = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    from_scratch: options.FromScratch = False,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    max_image_pixels: options.MaxImagePixels = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Replace parts of a checkpoint, keep its weights, write one self-describing file.

    Example: covtool convert resnet50.pth --head isqrt --calibrate birds/

    Example: covtool convert resnet50.pth --conv tanh --calibrate birds/
    """
    _refuse_ineffective(ctx, calibrate, data)
    operations = _recipes_operations(ctx, recipe) if recipe else _operations(ctx, head, conv, spec)
    if not plan:
        place = output or converted_name(source, operations)
        first_checks.require_outputs(place, overwrite=overwrite)
    first_checks.require_models(source)
    first_checks.require_data(calibrate, data)
    launching.run_in_processes(ctx, launch)
    with loading.libraries(as_json=as_json):
        from covtool import conversion

    request = conversion.ConversionRequest(
        source=options.model_source(ctx, source, images),
        operations=operations,
        spec=spec,
        output=output,
        overwrite=overwrite,
        classes_from=data,
        calibrate_with=calibrate,
        layout=layout,
        batch_size=batch_size,
        workers=workers,
        device=device,
        on_bad_image=on_bad_image,
        launch=launch,
    )
    if plan:
        _show_plan(conversion.plan_conversion(request, track=render.track), as_json=as_json)
    else:
        _show_result(conversion.convert(request, track=render.track), as_json=as_json)


def _refuse_ineffective(ctx: typer.Context, calibrate: Path | None, data: Path | None) -> None:
    """Refuse options about images where no image is read."""
    if calibrate is None:
        _refuse_given(ctx, "--calibrate DIR", *CALIBRATING, *LaunchSpec.model_fields)
        if data is None:
            _refuse_given(ctx, "--data DIR or --calibrate DIR", *LayoutSpec.model_fields)


def _operations(
    ctx: typer.Context, head: HeadSpec, conv: ConvolutionSpec, spec: ConvertSpec
) -> list[Operation]:
    """Return the operations that the options name: a head, if they name none."""
    require_variant("operator", conv.conv)
    require_variant("head", head.head)
    # In the order of application: a head is planned for the map that the stride leaves.
    done: list[Operation] = [LastStrideSpec()] if spec.last_stride else []
    if options.is_given(ctx, "conv"):
        done.append(conv)
    else:
        _refuse_given(ctx, "--conv", *ConvolutionSpec.model_fields)
    others = options.is_given(ctx, "conv") or spec.eigenlayer is not None
    if options.is_given(ctx, "head") or not others:
        done.append(head)
    else:
        _refuse_given(ctx, "--head", *HeadSpec.model_fields)
    if spec.eigenlayer is not None:
        done.append(EigenlayerSpec(features=spec.eigenlayer, init=spec.eigenlayer_init))
    else:
        _refuse_given(ctx, "--eigenlayer 1024", "eigenlayer_init")
    # Asked last: the table of operators loads torch.
    has_quantile = options.is_given(ctx, "radius_quantile")
    if has_quantile and (conv not in done or "radius" not in _taken(conv)):
        _refuse_given(ctx, "an operator with a radius, like --conv tanh", "radius_quantile")
    return done


def _taken(conv: ConvolutionSpec) -> frozenset[str]:
    """Return names of the options that an operator takes."""
    from covtool.variants import CONVOLUTIONS

    return CONVOLUTIONS[conv.conv].options


def _refuse_given(ctx: typer.Context, needed: str, *names: str) -> None:
    """Refuse options that have no effect without something else."""
    for name in names:
        if options.is_given(ctx, name):
            raise ArgumentError(
                f"{as_flag(name)} has no effect without {needed}.",
                hint=f"Add {needed}, or leave it out.",
            )


def _recipes_operations(ctx: typer.Context, path: Path) -> list[Operation]:
    """Return the operations of a recipe, which must be the only ones."""
    for name in (
        *HeadSpec.model_fields,
        *ConvolutionSpec.model_fields,
        "last_stride",
        "eigenlayer",
    ):
        if options.is_given(ctx, name):
            raise ArgumentError(
                f"{as_flag(name)} has no effect beside --recipe, which lists all operations.",
                hint=f"Write it into {path}, or leave --recipe out.",
            )
    from covtool.specs.settings_files import read_operations

    return read_operations(path)


def _show_plan(plan: "ConversionPlan", *, as_json: bool) -> None:
    _warn_of_unreadable(plan)
    if as_json:
        render.json_object(plan)
        return
    _show_changes(plan)
    render.line(f"would write {plan.output}")
    render.line("recipe:")
    render.yaml_text(plan.recipe)
    _show_notes(plan.notes)


def _show_result(result: "ConversionResult", *, as_json: bool) -> None:
    _warn_of_unreadable(result.plan)
    if as_json:
        render.json_object(result)
        return
    _show_changes(result.plan)
    if result.calibration is not None:
        done = result.calibration
        solved = "images (dual)" if done.side == "rows" else "features (primal)"
        render.pairs(
            "Calibration",
            [
                ("images", done.images),
                ("left-out top-1", f"{done.left_out_top_1:.1f} %"),
                (
                    "left-out loss",
                    None if done.left_out_loss is None else f"{done.left_out_loss:.3f}",
                ),
                ("solved for", f"{done.system_size:,} {solved}"),
                ("features", _how_kept(done.projected, done.kept_features)),
                ("exact solution", _exact_memory(done)),
                ("penalty (λ)", done.penalty),
                ("temperature of predictions", _temperature(result)),
                ("embeddings kept", _embeddings(result)),
                (
                    "variance kept by the reduction",
                    ", ".join(map(_percent, done.explained_variances)) or None,
                ),
            ],
        )
    _show_notes((*result.plan.notes, *result.notes))
    render.line(
        f"wrote {result.path}; read back: {result.untouched} tensors unchanged, equal outputs"
    )


def _warn_of_unreadable(plan: "ConversionPlan") -> None:
    for path, reason in plan.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")


def _show_changes(plan: "ConversionPlan") -> None:
    operators = {site.path for report in plan.convolutions for site in report.plan.layers}
    changes = [change for change in plan.changes if change.path not in operators]
    title = f"{plan.source}: {plan.recipe.base.library} {plan.recipe.base.name}"
    if changes:
        rows = [(change.path, change.old, change.new) for change in changes]
        render.table(title, ("site", "old", "new"), rows)
    else:
        render.line(title)
    for report in plan.convolutions:
        _show_operators(report)
    size = plan.before, plan.after
    rows = [
        ("parameters", *(f"{s.parameters:,}" for s in size)),
        ("GFLOPs for an image", *(f"{s.flops / 1e9:.2f}" for s in size)),
    ]
    render.table("", ("", "before", "after"), rows)
    items = [
        ("classes", plan.recipe.num_classes),
        ("starts at random", ", ".join(plan.random) or "nothing"),
        ("tensors kept, byte for byte", len(plan.keys.kept)),
        ("other values", _keys(plan.keys.changed)),
        ("resized", _keys(plan.keys.resized)),
        ("new", _keys(plan.keys.new)),
        ("dropped", _keys(plan.keys.dropped)),
    ]
    if plan.head is not None:
        head = plan.head
        tapped = [f"{t.path}: {t.channels} channels x {t.positions} positions" for t in head.taps]
        ranks = [str(rank) for t in head.taps if (rank := head.rank_of(t)) is not None]
        items = [
            *(("feature map", tap) for tap in tapped),
            ("features for the classifier", head.in_features),
            ("rank of the covariance, at most", ", ".join(ranks) or None),
            *items,
        ]
    render.pairs("", items)


def _show_operators(report: "ConvolutionsReport") -> None:
    done, kept = report.calibration, report.kept
    fits = {fit.path: fit for fit in done.layers} if done else {}
    columns = ("layer", "kind", "filters", "operator")
    rows = [
        (
            site.path,
            site.kind,
            site.shape,
            fits[site.path].operator if fits else report.plan.operator,
        )
        for site in report.plan.layers
    ]
    if done:
        columns += ("ρ", "beyond ρ (%)", "error (%)")
        fitted = [fits[site.path] for site in report.plan.layers]
        rows = [
            (*row, fit.radius, fit.beyond, 100 * fit.relative_error)
            for row, fit in zip(rows, fitted, strict=True)
        ]
    render.table(f"{len(rows)} convolutions", columns, rows)
    if done and kept:
        from covtool.evaluation.classification.class_matching import GUESSED

        asked = f" of {kept.images} images of {kept.data}"
        guess = f" ({GUESSED})" if kept.classes_guessed else ""
        render.pairs(
            "Agreement with the source, before training",
            [
                ("calibrated on", f"{done.images} images"),
                ("patches within ρ", f"{100 * done.radius_quantile:g} %"),
                ("batch norms corrected", len(done.batch_norms)),
                ("same answer as before", f"{kept.agreement:.1f} %{asked}"),
                ("top-1 before", _percent(kept.top_1_before, guess)),
                ("top-1 after", _percent(kept.top_1_after, guess)),
            ],
        )


def _show_notes(notes: tuple[str, ...]) -> None:
    for text in notes:
        render.note(f"note: {text}")


def _keys(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MAX_KEYS_SHOWN])
    more = f", ... ({len(names)} in all)" if len(names) > MAX_KEYS_SHOWN else ""
    return f"{shown}{more}" or "none"


def _how_kept(projected: bool, kept: bool) -> str:
    place = "kept in memory" if kept else "computed again for each pass"
    return f"projected (Nyström), {place}" if projected else place


def _exact_memory(done: "CalibrationResult") -> str | None:
    return f"takes {done.exact_memory_gib:.2g} GiB" if done.projected else None


def _temperature(result: "ConversionResult") -> str | None:
    scores = result.scores
    return None if scores is None else f"{scores.temperature:.4g}, by leave-one-out"


def _embeddings(result: "ConversionResult") -> str | None:
    kept = result.neighbors
    return None if kept is None else f"{kept.images:,} of {kept.data}"


def _percent(value: float | None, remark: str = "") -> str | None:
    return None if value is None else f"{value:.1f} %{remark}"
