"""`covtool finetune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covtool.errors import ArgumentError
from covtool.specs import FinetuneRequest, LaunchSpec, Record
from covtool.specs.finetuning import SETTINGS
from covtool_cli import launching, options

if TYPE_CHECKING:
    from covtool.training import DryRunResult, FinetuneResult

NAMES_SHOWN = 3


@options.takes(**SETTINGS)
def command(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A covtool file, a checkpoint, a timm name, hf-hub:ORG/NAME or torchvision:NAME."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder with train/ and val/ (or test/), one folder, a CSV, wds/DIR, hfds/NAME, "
            "or data for retrieval."
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FILE",
            help="Start from these weights (of a run: its best epoch), and nothing else of it.",
        ),
    ] = None,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    from_scratch: options.FromScratch = False,
    new_classifier: Annotated[
        bool, typer.Option("--new-classifier", help="Start the classifier afresh for the data.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for runs.")] = Path("runs"),
    experiment: Annotated[
        str | None, typer.Option(help="Name of the run; default: the model's.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with a run; it knows its model, data and options."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Build everything, try one batch, write nothing."),
    ] = False,
    config: options.Config = None,
    preset: options.Preset = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
    **settings: Record,
) -> None:
    """Train a model on a folder of images or a CSV file.

    Example: covtool finetune resnet50-isqrt.safetensors --data birds/ --gc
    """
    if resume is not None:
        if dry_run:
            raise ArgumentError("--dry-run is for a new run, not for --resume.")
        given = _given(ctx)
        launching.run_in_processes(ctx, LaunchSpec(nproc=_processes(resume, given)))
        _resume(resume, given, as_json=as_json)
        return
    if data is None or (model is None and init_from is None):
        raise ArgumentError(
            f"{'--data' if model or init_from else 'MODEL'} is missing.",
            hint="Usage: covtool finetune MODEL --data DIR, or covtool finetune --resume DIR.",
        )
    request = FinetuneRequest(
        model=model,
        data=str(data),
        init_from=init_from,
        arch=arch,
        iterations=iterations,
        weights=weights,
        from_scratch=from_scratch,
        new_classifier=new_classifier,
        output=str(output),
        experiment=experiment,
        preset=preset,
        **settings,
    )
    request.refuse_nonsense()  # before torch is imported
    launching.run_in_processes(ctx, request.processes)
    _try(request, as_json=as_json) if dry_run else _start(request, as_json=as_json)


def _start(request: FinetuneRequest, *, as_json: bool) -> None:
    from covtool.training import finetune
    from covtool_cli.progress import training_observer

    with training_observer() as observer:
        result = finetune(request, observer=observer)
    _show(result, as_json=as_json)


def _resume(directory: Path, changes: dict[str, Any], *, as_json: bool) -> None:
    from covtool.training import resume_finetune
    from covtool_cli.progress import training_observer

    with training_observer() as observer:
        result = resume_finetune(directory, changes=changes, observer=observer)
    _show(result, as_json=as_json)


def _try(request: FinetuneRequest, *, as_json: bool) -> None:
    from covtool.training import plan_finetune
    from covtool_cli.progress import training_observer

    with training_observer() as observer:
        result = plan_finetune(request, observer=observer)
    _show_plan(result, as_json=as_json)


def _processes(directory: Path, given: dict[str, Any]) -> int:
    """How many processes a run goes on with: as many as it had, unless somebody says otherwise."""
    if "nproc" in given or launching.is_launched():
        return given.get("nproc", 1)
    import yaml

    try:
        saved = yaml.safe_load((directory / "args.yaml").read_text())
        return LaunchSpec(nproc=saved["nproc"]).nproc
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):  # told when it is resumed
        return 1


def _given(ctx: typer.Context) -> dict[str, Any]:
    """The request's arguments that somebody gave, rather than defaults."""
    known = FinetuneRequest(model="", data="").to_arguments()
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in ctx.params.items()
        if name in known and options.is_given(ctx, name)
    }


def _show(result: "FinetuneResult", *, as_json: bool) -> None:
    from covtool_cli import render
    from covtool_cli.progress import duration

    if as_json:
        render.json_object(result)
        return
    render.pairs(
        "Fine-tuned",
        [
            (f"best {result.metric}", f"{_figure(result.best)} (epoch {result.best_epoch})"),
            (f"last {result.metric}", f"{_figure(result.last)} (epoch {result.epochs})"),
            *([("ended", "early, without improvement")] if result.stopped_early else []),
            ("time", duration(result.seconds)),
            ("run", result.directory),
            *((f"{name} model", path) for name, path in result.exported.items()),
        ],
    )


def _show_plan(result: "DryRunResult", *, as_json: bool) -> None:
    from covtool_cli import render

    if as_json:
        render.json_object(result)
        return
    plan = result.plan
    render.table(
        "Parameter groups",
        ("part", "tensors", "parameters", "lr", "weight decay", "names"),
        [
            (g.part, len(g.names), g.num_parameters, g.lr, g.weight_decay, _names(g.names))
            for g in result.groups
        ],
    )
    render.pairs(
        "Dry run: nothing was written",
        [
            ("images to train on", plan.training_images),
            ("images to validate on", plan.validation_images),
            ("classes", plan.num_classes),
            ("epochs", plan.epochs),
            ("updates per epoch", plan.updates_per_epoch),
            ("device", plan.device),
            ("loss of the first update", result.loss),
            ("seconds for it", result.seconds),
            ("peak memory, MiB", result.peak_memory_mib),
        ],
    )


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _names(names: tuple[str, ...]) -> str:
    more = f", ... ({len(names)})" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
