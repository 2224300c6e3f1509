"""The commands that train: their options, start, resumption and pages."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covtool.errors import ArgumentError
from covtool.run_files import ARGUMENTS, REPEATS, is_repeats, read_settings, require_resumable
from covtool.specs import FinetuneRequest, LaunchSpec, Record, as_flag
from covtool.specs.finetuning import command_of
from covtool_cli import first_checks, launching, loading, options
from covtool_cli.training_results import show_plan, show_rate, show_result

if TYPE_CHECKING:
    from covtool.training import DryRunResult, FinetuneResult, FoundRate, RepeatsResult
    from covtool.training.run.observer import Observer

Watch = Callable[[], "AbstractContextManager[Observer]"]
Trained = tuple["FinetuneResult | RepeatsResult", Path | None]
"""What came of training, and the page about it."""
Command = Callable[..., None]

Model = Annotated[
    str | None,
    typer.Argument(
        help="A covtool file, a run's folder, a checkpoint, a timm name, hf-hub:ORG/NAME or "
        "torchvision:NAME."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="A folder with train/ and val/ (or test/), one folder, a CSV, a published data set as "
        "it unpacks, wds/DIR, hfds/NAME, or data for retrieval."
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        metavar="RUN|FILE",
        help="Weights to start from, of a run (its best epoch) or a file; nothing else of it is "
        "used.",
    ),
]
NewClassifier = Annotated[
    bool,
    typer.Option("--new-classifier", help="Start with a new classifier for the data's classes."),
]
Output = Annotated[Path, typer.Option(help="Folder for runs.")]
Experiment = Annotated[str | None, typer.Option(help="Name of the run; default: the model's.")]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of a run to continue, with its model, data and options."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Build everything and train on one batch, but write nothing."),
]
FindLr = Annotated[
    bool,
    typer.Option(
        "--find-lr",
        help="Only test learning rates, as --lr auto does before a run: the loss against the rate, "
        "and a suggestion.",
    ),
]

Report = Annotated[
    bool,
    typer.Option(help="Write a page about the run into its folder, at its end: report/index.html."),
]
ReportEvery = Annotated[
    int,
    typer.Option(min=0, metavar="EPOCHS", help="Write it after every so many epochs as well."),
]


def training_command(
    name: str,
    groups: Mapping[str, type[Record]],
    *,
    help: str,
    watch: Watch,
    show: Callable[["FinetuneResult"], None],
) -> Command:
    """Return a command that trains a model.

    Args:
        name: Name of the command.
        groups: Groups of settings, by name; each setting becomes an option.
        help: Help text of the command.
        watch: Function that returns the observer of a run.
        show: Function that shows the result of a run.
    """

    @options.takes(**groups)
    def command(  # noqa: PLR0913 -- each is an option
        ctx: typer.Context,
        model: Model = None,
        data: Data = None,
        init_from: InitFrom = None,
        arch: options.Arch = None,
        iterations: options.Iterations = None,
        weights: options.Weights = "auto",
        classifier_layer: options.ClassifierLayer = None,
        from_scratch: options.FromScratch = False,
        new_classifier: NewClassifier = False,
        output: Output = Path("runs"),
        experiment: Experiment = None,
        resume: Resume = None,
        dry_run: DryRun = False,
        find_lr: FindLr = False,
        report: Report = True,
        report_every: ReportEvery = 0,
        max_model_size: options.MaxModelSize = None,
        max_image_pixels: options.MaxImagePixels = None,
        config: options.Config = None,
        preset: options.Preset = None,
        as_json: options.AsJson = False,
        debug: options.Debug = False,
        **settings: Record,
    ) -> None:
        if report_every and not report:
            raise ArgumentError("--no-report and --report-every contradict each other.")
        if resume is not None:
            result, page = _go_on(ctx, name, groups, watch)
        else:
            request = _request(ctx, name, settings)
            first_checks.require_optimizer(request.training.opt)
            if not dry_run:
                first_checks.require_run(Path(request.output), name, request.experiment)
            first_checks.require_models(model)
            first_checks.require_some_models(*([] if init_from is None else [str(init_from)]))
            first_checks.require_data(data)
            launching.run_in_processes(ctx, request.processes)
            if find_lr:
                show_rate(_find(ctx, request, watch), as_json=as_json)
                return
            if dry_run:
                show_plan(_try(ctx, request, watch), as_json=as_json)
                return
            result, page = _start(ctx, request, watch)
        show_result(result, show, as_json=as_json)
        if page is not None and not as_json:
            from covtool_cli import render

            render.line(f"page: {page}")

    command.__doc__ = help
    return command


def _request(ctx: typer.Context, name: str, settings: Mapping[str, Record]) -> FinetuneRequest:
    """Return the request that the options of a new run make.

    Raises:
        ArgumentError: The model or its data is missing, or two settings contradict each other.
    """
    given = {key: value for key, value in ctx.params.items() if key in FinetuneRequest.model_fields}
    has_model = given["model"] or given["init_from"]
    if given["data"] is None or not has_model:
        raise ArgumentError(
            f"{'--data' if has_model else 'MODEL'} is missing.",
            hint=f"Usage: covtool {name} MODEL --data DIR, or covtool {name} --resume DIR.",
        )
    # args.yaml holds text, and so does the request
    paths = {key: str(given[key]) for key in ("data", "output")}
    request = FinetuneRequest(**{**given, **paths, **settings})
    if ctx.params["find_lr"]:
        request = request.to_find_rate("--find-lr")
        if ctx.params["dry_run"]:
            raise ArgumentError(
                "--dry-run trains on one batch, and --find-lr on many.",
                hint="Leave one of them out.",
            )
    request.validate_fields()  # before torch is imported, which takes seconds
    return request


def _go_on(
    ctx: typer.Context, name: str, groups: Mapping[str, type[Record]], watch: Watch
) -> "Trained":
    """Resume the run or the runs of ``--resume``, in as many processes as before."""
    directory, changes = Path(ctx.params["resume"]), _given(ctx, groups)
    for flag in ("dry_run", "find_lr"):
        if ctx.params[flag]:
            raise ArgumentError(f"{as_flag(flag)} is for a new run, not for --resume.")
    _require_own_run(directory, name)
    if not is_repeats(directory):
        require_resumable(directory)
    launching.run_in_processes(ctx, LaunchSpec(nproc=_processes(directory, changes)))
    with _libraries(ctx):
        from covtool.training import resume_finetune, resume_repeats

    resume = resume_repeats if is_repeats(directory) else resume_finetune
    return _reported(
        ctx, watch, lambda observer: resume(directory, changes=changes, observer=observer)
    )


def _start(ctx: typer.Context, request: FinetuneRequest, watch: Watch) -> "Trained":
    with _libraries(ctx):
        from covtool.training import finetune, repeat_finetune

    start = repeat_finetune if request.repeats.is_several else finetune
    return _reported(ctx, watch, lambda observer: start(request, observer=observer))


def _libraries(ctx: typer.Context) -> AbstractContextManager[None]:
    return loading.libraries(as_json=ctx.params["as_json"])


def _reported(
    ctx: typer.Context,
    watch: Watch,
    train: "Callable[[Observer], FinetuneResult | RepeatsResult]",
) -> "Trained":
    """Train, and write the page about it unless it is not wanted."""
    if not ctx.params["report"]:
        with watch() as observer:
            return train(observer), None
    from covtool.training import RepeatsResult
    from covtool.training.run.observer import Observers
    from covtool_cli.run_reports import RunReports

    reports = RunReports(ctx.params["report_every"])
    with watch() as observer:
        result = train(Observers(observer, reports))
    return result, reports.finish(result.directory, several=isinstance(result, RepeatsResult))


def _try(ctx: typer.Context, request: FinetuneRequest, watch: Watch) -> "DryRunResult":
    with _libraries(ctx):
        from covtool.training import plan_finetune
        from covtool.training.repeats.repeating import plan_first

    plan = plan_first if request.repeats.is_several else plan_finetune
    with watch() as observer:
        return plan(request, observer=observer)


def _find(ctx: typer.Context, request: FinetuneRequest, watch: Watch) -> "FoundRate":
    with _libraries(ctx):
        from covtool.training import find_learning_rate

    with watch() as observer:
        return find_learning_rate(request, observer=observer)


def _processes(directory: Path, given: dict[str, Any]) -> int:
    """Return the number of processes to go on with: as many as before, unless --nproc is given."""
    # Under torchrun the number is torchrun's.
    if "nproc" in given or launching.is_launched():
        return given.get("nproc", 1)
    try:
        return LaunchSpec(nproc=_saved(directory)["nproc"]).nproc
    except (KeyError, TypeError, ValueError):  # resuming reports it, with the reason
        return 1


def _require_own_run(directory: Path, name: str) -> None:
    saved = _saved(directory)
    # Where args.yaml cannot be read, resuming says so, with the reason.
    own = command_of(saved) if saved else name
    if own != name:
        raise ArgumentError(
            f"{directory} is a run of covtool {own}.",
            hint=f"Go on with: covtool {own} --resume {directory}",
        )


def _saved(directory: Path) -> dict[str, Any]:
    """Return the arguments of a run; none where they cannot be read, which resuming reports."""
    try:
        return read_settings(directory / (REPEATS if is_repeats(directory) else ARGUMENTS))
    except ArgumentError:
        return {}


def _given(ctx: typer.Context, groups: Mapping[str, type[Record]]) -> dict[str, Any]:
    """Return the request's arguments that were given, without defaults."""
    defaults = {name: spec() for name, spec in groups.items()}
    # Options like --json are no settings of a run.
    known = FinetuneRequest(model="", data="", **defaults).to_arguments()
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in ctx.params.items()
        if name in known and options.is_given(ctx, name)
    }
