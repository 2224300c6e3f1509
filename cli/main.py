"""Entry point: the commands by name, and covtool's errors as exit codes."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from covtool import __version__, allocator, atomic, errors
from covtool.printable import escaped, printable
from covtool.shortages import shortage_behind
from covtool_cli import (
    environment,
    home,
    launching,
    leaving,
    library_talk,
    signals,
    streams,
    suggestions,
)
from covtool_cli.arguments import in_our_spelling
from covtool_cli.lazy import LazyGroup

COMMANDS = {
    "inspect": "Show what a checkpoint holds, which architecture it is, what can be operated on.",
    "compare": "Choose a head before training: heads, taps, models and image sizes side by side.",
    "convert": "Replace parts of a checkpoint, keep its weights, write one self-describing file.",
    "data": "Look through a data set: duplicates, broken files, uneven classes, doubtful labels.",
    "finetune": "Train a model on a folder of images or a CSV file.",
    "svdnet-rri": "Train for retrieval with an Eigenlayer: restraint and relaxation iterations.",
    "evaluate": "Measure a model on a labeled data set, or how well its features find images.",
    "predict": "Say what is on images: the most probable classes, to a file or the terminal.",
    "embed": "Write a model's features of images to a file.",
    "card": "Print a model card, written from the recipe in a model's file.",
    "push": "Upload a covtool file to the Hugging Face Hub, with a model card.",
    "export": "Write a model as an ONNX file, a torch.export program or a timm folder.",
    "average": "Average the weights of several models of one structure: soups, or a line.",
    "diff": "Show what differs between two models, two runs, or the figures of two groups of runs.",
    "index": "Make a file of images' features to search in, add images to one, or remove images.",
    "search": "Find the images of an index that are the nearest to others.",
    "bench": "Measure heads, convolutions, what --gc costs, loaders or searches, side by side.",
    "plot": "Draw decoupled operators, or curves of training runs, into a PNG, SVG or PDF file.",
    "report": "Write a page about one training run or several, finished or not.",
    "list": "List the heads and other variants that covtool knows by name.",
    "doctor": "Check the installation, or run a batch again on which a run stopped.",
    "demo": "Run the whole pipeline on an embedded example, without a network.",
}

# The first class that fits decides; the rest is 1.
EXIT_CODES = {
    errors.ArgumentError: 2,
    errors.OutputExistsError: 2,
    errors.CheckpointError: 3,
    errors.DataError: 4,
    errors.NonFiniteError: 5,
    errors.RangeTestError: 5,
    errors.VerificationError: 6,
}

DEBUG = "--debug"

ORIGINS = {"ENVIRONMENT": "{}", "DEFAULT_MAP": "--config or --preset"}
"""Sources of values other than the command line, by typer's names, with words for each."""

_PYDANTIC = "Value error, "  # typer's words for a wrong choice come through pydantic


class _Covtool(LazyGroup):
    """The commands; usage errors are made printable here, once for all of them."""

    summaries = COMMANDS
    package = "covtool_cli.commands"

    def make_context(self, *arguments: Any, **settings: Any) -> typer.Context:
        with _printable_usage_errors():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: typer.Context) -> Any:
        environment.require_working_folder()
        with _printable_usage_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    """Escape text of arguments, variables and files of settings in typer's own errors."""
    try:
        yield
    except Exception as problem:
        if hasattr(problem, "format_message"):  # the class is not public
            message = str(problem.message).removeprefix(_PYDANTIC)[: errors.LONGEST_LINE]
            message += suggestions.after(problem, message)
            problem.message = escaped(message, keep="\n\t") + _origin(problem)
        raise


def _origin(problem: Any) -> str:
    """Return the variable or file that a value comes from, if not from the command line."""
    ctx, parameter = getattr(problem, "ctx", None), getattr(problem, "param", None)
    if ctx is None or parameter is None:
        return ""
    source = ctx.get_parameter_source(parameter.name)
    if source is None or source.name not in ORIGINS:
        return ""
    variable = f"{ctx.auto_envvar_prefix}_{parameter.name.upper()}"
    return f" (from {ORIGINS[source.name].format(variable)})"


app = typer.Typer(
    cls=_Covtool,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # tracebacks are for --debug, and escaped
    context_settings={"auto_envvar_prefix": "COVTOOL", "help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"covtool {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Replace parts of a pretrained image network, keep its weights, fine-tune it."""


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; the one place where an error becomes an exit code."""
    try:
        _run(arguments)
    except SystemExit as end:
        if arguments is None:  # tests and programs pass arguments, and go on
            leaving.leave(end.code)
        raise


@signals.ended_in_order()
def _run(arguments: list[str] | None) -> None:
    is_own_process = arguments is None
    if is_own_process:
        allocator.keep_freed_memory()
    given = home.without_equals(sys.argv[1:] if arguments is None else arguments)
    already = len(atomic.written_files())  # tests run several commands in one process
    with streams.guarded() as (stdout, _), library_talk.in_lines(debug=DEBUG in given):
        try:
            code, is_told = _exit_code_of(given)
        except KeyboardInterrupt:
            code, is_told = signals.INTERRUPTED, False
        written = atomic.written_files()[already:]
        if code == signals.INTERRUPTED:
            if is_own_process:
                _end_at_once_on_another_ctrl_c()
            if not is_told:
                _show_interrupted(written)
        # last, so that nothing written after it could be lost without an error
        lost = streams.undelivered(stdout, written)
        if lost is not None and code == 0:
            code = _report(lost)
    sys.exit(code)


def _exit_code_of(arguments: list[str]) -> tuple[int, bool]:
    """Run a command; return its exit code, and whether an error has told how it ended."""
    try:
        for text in environment.without_nonsense():
            _note(f"note: {text}")
        if DEBUG not in arguments:
            environment.quieten_torch()
        spelled = in_our_spelling(arguments)
        app(spelled, obj=spelled)  # as obj they reach --nproc, which starts them again
    except SystemExit as end:  # of Ctrl-C, typer makes one
        return end.code or 0, False
    except Exception as problem:
        if DEBUG in arguments:
            _show_traceback(problem)
        return _report(problem), True
    return 0, False


def _end_at_once_on_another_ctrl_c() -> None:
    """Let a second Ctrl-C end the process without a traceback: only messages are left to write."""
    # Python refuses handlers set by other threads.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _show_interrupted(written: Sequence[Path]) -> None:
    """Show which files were written before Ctrl-C ended a command; each of them is whole."""
    if not launching.is_main() or launching.has_launched():
        return
    # args.yaml is the first file of a run.
    run = next((file.parent for file in written if file.name == "args.yaml"), None)
    if run is not None:
        text = f"Interrupted. What the run had saved is in {run}; go on with: --resume {run}"
        if not any(run.glob("checkpoints/*.pt")):
            text += " (which starts the same run: nothing was trained yet)"
    elif written:
        names = ", ".join(dict.fromkeys(map(str, written)))
        text = f"Interrupted. Written completely before that: {names}."
    else:
        text = "Interrupted: nothing was written."
    typer.echo(printable(text, longest=errors.LONGEST_LINE), err=True)


def _report(problem: Exception) -> int:
    """Show an error, once where several processes have it, and return the exit code."""
    # Errors that all processes raise carry it: one process shows them, all end alike.
    tell_once = getattr(problem, "tell_once", None)
    if not isinstance(problem, errors.CovtoolError):
        problem = _unforeseen(problem)

    def tell() -> int:
        if not launching.is_silent(problem):
            _show(problem)
        return exit_code(problem)

    if tell_once is not None:
        return tell_once(tell)
    return tell() if launching.is_main() else exit_code(problem)


def _unforeseen(problem: Exception) -> errors.CovtoolError:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()] or [""]
    # DataLoader's "Caught KeyError in worker ..." ends with the worker's own error
    line = lines[-1 if lines[0].startswith("Caught ") else 0]
    text = f"{type(problem).__name__}: {line.removeprefix(f'{type(problem).__name__}: ')}"
    # Lack of memory, files, threads or disk comes as errors of many classes.
    shortage = shortage_behind(problem)
    if shortage is not None:
        return errors.CovtoolError(text, reason=shortage.message, hint=shortage.hint)
    return errors.CovtoolError(
        text,
        hint="This is an unexpected error: please report it, with the traceback of --debug.",
    )


def exit_code(problem: errors.CovtoolError) -> int:
    """Return the exit code that stands for `problem`."""
    if isinstance(problem, errors.InterruptedRunError):
        return 128 + problem.signal_number  # as shells count
    return next((code for kind, code in EXIT_CODES.items() if isinstance(problem, kind)), 1)


def _show(problem: errors.CovtoolError) -> None:
    try:
        from covtool_cli import render

        render.error(problem)
    except Exception:  # without memory, for example: plain text needs none of rich
        parts = (f"error: {problem.message}", problem.reason, problem.hint)
        sys.stderr.write("".join(f"{part}\n" for part in parts if part))


def _note(text: str) -> None:
    # Not at the top: rich is loaded only where something is shown.
    from covtool_cli import render

    render.note(text)


def _show_traceback(problem: Exception) -> None:
    with suppress(Exception):
        lines = "".join(traceback.format_exception(problem))
        sys.stderr.write(escaped(lines, keep="\n"))
