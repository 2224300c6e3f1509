"""`covtool doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.errors import ArgumentError
from covtool_cli import options, render

if TYPE_CHECKING:
    from covtool.diagnosing.health import HealthReport
    from covtool.diagnosing.replaying import ReplayResult
    from covtool.training.step.nonfinite import LayerFigures

AROUND = 4  # layers shown before the first one that is not finite, and after it


def command(
    ctx: typer.Context,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="DUMP",
            help="File nonfinite.pt that a stopped run left, whose batch is run again.",
        ),
    ] = None,
    device: options.Device = "auto",
    config: options.Config = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check the installation, or run a batch again on which a run stopped.

    Example: covtool doctor

    Example: covtool doctor --replay runs/finetune/resnet50/nonfinite.pt
    """
    if replay is None and options.is_given(ctx, "device"):
        raise ArgumentError(
            "--device has no effect without --replay.", hint="Every device is checked anyway."
        )
    if replay is not None:
        from covtool.diagnosing.replaying import replay as run_again

        result = run_again(replay, device=device)
        render.json_object(result) if as_json else _show_replay(result)
        return
    from covtool.diagnosing.health import check_health

    report = check_health()
    render.json_object(report) if as_json else _show_health(report)
    report.require_passed()  # last: the exit code comes with the whole report


def _show_health(report: "HealthReport") -> None:
    render.pairs(
        "Installation",
        [
            *report.versions.items(),
            *((f"extra {name}", version) for name, version in report.extras.items()),
            ("platform", report.platform),
            ("cores, threads of torch", f"{report.cores}, {report.threads}"),
            ("memory, MiB", report.memory_mib),
            ("shared memory, MiB", report.shared_memory_mib),
        ],
    )
    render.table(
        "Devices",
        ("device", "model", "memory, MiB", "bfloat16"),
        [(d.name, d.model, d.memory_mib, d.bfloat16) for d in report.devices],
    )
    render.table(
        "Checks",
        ("check", "in order", "what was found"),
        [(check.name, check.passed, check.detail) for check in report.checks],
    )


def _show_replay(result: "ReplayResult") -> None:
    of = result.inputs
    render.pairs(
        f"Update {result.update}, run again",
        [
            ("then", f"{result.problem}. {result.reason}"),
            ("now", f"{result.found}. {result.found_reason}" if result.found else "all is finite"),
            ("reproduced", result.reproduced),
            ("loss", _short(result.loss)),
            ("loss then", _short(result.loss_then)),
            ("precision", result.precision),
            ("device", f"{result.device} (then: {result.then['device']})"),
            ("other versions then", _differences(result) or None),
            ("images", of.images),
            ("their values", f"{of.minimum:.4g} to {of.maximum:.4g}"),
            ("mean, deviation", f"{of.mean:.4g}, {of.std:.4g}"),
            ("values that are not finite", of.non_finite),
        ],
    )
    if result.tensors:
        render.table(
            "Weights and statistics that are not finite",
            ("tensor", "not finite", "of"),
            [(name, of.non_finite, of.size) for name, of in result.tensors.items()],
        )
    _show_layers("Outputs, forward", result.outputs)
    _show_layers("Gradients by outputs, backward", result.gradients)


def _differences(result: "ReplayResult") -> str:
    names = ("covtool", "python", "torch", "torchvision", "timm")
    changed = [name for name in names if result.then.get(name) != result.now.get(name)]
    return ", ".join(f"{name} {result.then.get(name)}" for name in changed)


def _show_layers(title: str, layers: "tuple[LayerFigures, ...]") -> None:
    """Show the layers around the first one that is not finite; without one, the largest."""
    if not layers:
        return
    broken = [place for place, layer in enumerate(layers) if layer.figures.non_finite]
    if broken:
        shown = layers[max(0, broken[0] - AROUND) : broken[0] + AROUND + 1]
        title = f"{title}: around the first that is not finite"
    else:
        largest = sorted(layers, key=lambda layer: -layer.figures.max_abs)
        shown = tuple(largest[: 2 * AROUND + 1])
        title = f"{title}: the largest"
    render.table(
        title,
        ("layer", "kind", "max |value|", "not finite", "of"),
        [
            (of.name, of.kind, _short(of.figures.max_abs), of.figures.non_finite, of.figures.size)
            for of in shown
        ],
    )


def _short(value: float | None) -> str | None:
    """Return a number with six digits; `render.number` would round 1e-7 and 3e38 too far."""
    return None if value is None else f"{value:.6g}"
