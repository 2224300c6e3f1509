"""`covtool inspect`."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from covtool_cli import first_checks, loading, options, render

if TYPE_CHECKING:
    from covtool.backbones.feature_maps import FeatureMap
    from covtool.checkpoints.inspection import Inspection

MAX_SHOWN = 12


def command(
    source: options.Model,
    arch: options.Arch = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    correlation: Annotated[
        bool,
        typer.Option(
            "--correlation",
            help="Show the correlation of each linear layer's weight vectors: S(W) of SVDNet.",
        ),
    ] = False,
    max_model_size: options.MaxModelSize = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what a checkpoint holds, which architecture it is, what can be operated on.

    Example: covtool inspect resnet50.pth
    """
    first_checks.require_models(source)
    with loading.libraries(as_json=as_json):
        from covtool.checkpoints.inspection import inspect_source
        from covtool.checkpoints.refusals import unrecognized

    inspection, identification = inspect_source(
        source,
        arch=arch,
        weights=weights,
        classifier_layer=classifier_layer,
        correlations=correlation,
        track=render.track,
    )
    if as_json:
        render.json_object(inspection)
    else:
        _show(inspection)
    # What was found is shown first; exit code 3 then shows scripts that a choice is left.
    if identification is not None and not identification.is_certain:
        raise unrecognized(identification)


def _show(inspection: "Inspection") -> None:
    render.pairs("File" if inspection.format != "name" else "Name", _file_rows(inspection))
    if inspection.candidates:
        render.table(
            "Candidates",
            ("architecture", "match", "score", "classes", "in-channels"),
            [
                (c.name, c.match, f"{c.score:.3f}", c.num_classes, c.in_channels)
                for c in inspection.candidates
            ],
        )
    if inspection.recipe is not None:
        render.pairs("Model", _model_rows(inspection))
        _show_sites(inspection)
    if inspection.correlations:
        render.table(
            "Correlation of weight vectors: S(W) lies between 1/k and 1 (orthogonal)",
            ("layer", "in", "out (k)", "S(W)", "smallest eigenvalue / diagonal"),
            [
                (c.name, c.in_features, c.out_features, c.correlation, c.smallest_eigenvalue_ratio)
                for c in inspection.correlations
            ],
        )
    if inspection.history:
        render.line("History")
        for text in inspection.history:
            render.line(f"  {text}")
    if inspection.format == "covtool":
        render.line("Recipe")
        render.yaml_text(inspection.recipe)
    for text in inspection.notes:
        render.note(f"note: {text}")
    if inspection.tensors.non_finite:
        names = _shortened(inspection.tensors.non_finite)
        render.warning(f"values that are infinite or NaN in: {names}")


def _file_rows(inspection: "Inspection") -> list[tuple[str, object]]:
    tensors = inspection.tensors
    kinds = ", ".join(f"{kind} ({count})" for kind, count in tensors.dtypes.items())
    others = [f"{name}: {value}" for name, value in inspection.others.items()]
    return [
        ("source", inspection.source),
        ("format", inspection.format),
        ("container", inspection.container),
        ("weights", "averaged (EMA)" if inspection.is_ema else "as they are"),
        ("prefix taken off", inspection.prefix or None),
        ("tensors", tensors.count),
        ("parameters", tensors.parameters),
        ("dtypes", kinds),
        ("non-finite tensors", len(tensors.non_finite)),
        ("not used", _shortened(inspection.ignored) or None),
        ("also in the file", _shortened(others) or None),
    ]


def _model_rows(inspection: "Inspection") -> list[tuple[str, object]]:
    recipe, images = inspection.recipe, inspection.recipe.input
    height, width = images.size
    sites = inspection.sites
    return [
        ("architecture", f"{recipe.base.library} {recipe.base.name}"),
        ("classifier", inspection.classifier or "none in the file"),
        ("classes", inspection.num_classes),
        ("in-channels", inspection.in_channels),
        ("feature map (channels x positions)", _size(sites.default_tap) if sites else None),
        ("convolutions", _convolutions(inspection) or None),
        ("input", f"{height}x{width}, mean {_numbers(images.mean)}, std {_numbers(images.std)}"),
        ("EXIF orientation", "applied" if images.exif else "not applied"),
    ]


def _show_sites(inspection: "Inspection") -> None:
    sites = inspection.sites
    if sites is None:
        render.line(f"Cannot be operated on: {inspection.not_operable}")
        return
    rows = [(m.path, "tap", _size(m)) for m in sites.taps]
    rows += [
        (sites.pooling, "pooling", _size(sites.default_tap)),
        (sites.classifier, "classifier", f"{sites.in_features} => {sites.num_classes}"),
    ]
    render.table("Sites", ("module", "what", "channels x positions"), rows)


def _size(feature_map: "FeatureMap") -> str:
    return f"{feature_map.channels} x {feature_map.positions}"


def _convolutions(inspection: "Inspection") -> str:
    """Return the number of convolutions: of the body by kind, of the rest by role."""
    found = inspection.convolutions
    words = Counter(site.kind if site.role == "body" else site.role for site in found)
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _shortened(names: "tuple[str, ...] | list[str]") -> str:
    more = f", ... ({len(names)} in all)" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more
