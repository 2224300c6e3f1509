"""`covtool bench`: a group of benchmarks, one module each."""

import os
from typing import Any

import typer
from typer.core import TyperCommand

from covtool.errors import ArgumentError
from covtool_cli.lazy import LazyGroup

BENCHMARKS = {
    "heads": "Measure time, memory and error of heads, side by side.",
    "convs": "Measure decoupled operators against the convolutions that they replace.",
    "step": "Measure what gradient centralization adds to a training step.",
    "data": "Measure loaders and caches of training images against timm's and torchvision's.",
    "retrieval": "Measure time and memory of searches, with and without re-ranking.",
}
DEFAULT = "heads"
VARIABLES = "COVTOOL_BENCH"


class BenchGroup(LazyGroup):
    """The benchmarks; without a name, that of heads."""

    summaries = BENCHMARKS
    package = __name__

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            # COVTOOL_BENCH_REPETITIONS is for whichever benchmark takes --repetitions
            command.context_settings["auto_envvar_prefix"] = VARIABLES
        return command

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        is_named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        if not (is_named or ctx.resilient_parsing):  # completion completes the name itself
            args = self._with_name_first(ctx, args)
        return super().parse_args(ctx, args)

    def _with_name_first(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Return arguments that begin with an option with the benchmark's name in front."""
        commands = [self.get_command(ctx, name) for name in BENCHMARKS]
        valued = {
            flag
            for command in commands
            for option in command.params
            if not option.is_flag
            for flag in option.opts
        }
        for place, argument in enumerate(args):
            # `--data heads` names a folder
            if argument in BENCHMARKS and args[place - 1] not in valued:
                return [argument, *args[:place], *args[place + 1 :]]
        return [DEFAULT, *args]

    def invoke(self, ctx: typer.Context) -> Any:
        # torch's profiler reads it when torch is loaded, and talks on stderr without it
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        try:
            return super().invoke(ctx)
        except Exception as problem:
            flag = getattr(problem, "option_name", None)  # typer's class for it is not public
            takers = [name for name in BENCHMARKS if flag in self._flags(ctx, name)]
            if not takers:
                raise
            raise ArgumentError(
                f"covtool bench {problem.ctx.info_name} takes no {flag}.",
                hint=f"It belongs to {' and '.join(f'covtool bench {name}' for name in takers)}.",
            ) from problem

    def _flags(self, ctx: typer.Context, name: str) -> set[str]:
        return {flag for option in self.get_command(ctx, name).params for flag in option.opts}


app = typer.Typer(
    cls=BenchGroup,
    add_completion=False,
    rich_markup_mode="markdown",
)


@app.callback()
def command() -> None:
    """Measure heads, convolutions, what --gc costs, loaders or searches, side by side.

    Without a name: heads.

    Example: covtool bench convs --shape 16x64x56x56:3x3 --conv tanh --conv tanh:sigmoid
    """
