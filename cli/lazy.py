"""Groups of commands whose modules are imported when they are called, not before."""

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from covtool_cli import choices, home
from covtool_cli.help_text import Command, help_all_option


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and summary alone.

    Each command is a module of `package`: with a function ``command``, or, where the command is a
    group itself, with an ``app``.

    Attributes:
        summaries: Names of the commands, in the help's order, with a line on each.
        package: Package of the commands' modules.
    """

    summaries: ClassVar[Mapping[str, str]] = {}
    package: ClassVar[str] = ""

    _listing = False

    def list_commands(self, ctx: typer.Context) -> list[str]:
        return list(self.summaries)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | TyperGroup | None:
        if cmd_name not in self.summaries:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=self.summaries[cmd_name])
        return load_command(self.package, cmd_name)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple:
        self.commands = dict.fromkeys(self.summaries)  # what typer compares a misspelt name with
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: typer.Context, formatter: object) -> None:
        self._listing = True
        super().format_help(ctx, formatter)


def load_command(package: str, name: str) -> TyperCommand | TyperGroup:
    """Import the command of a name from a package of commands."""
    module = import_module(f"{package}.{name.replace('-', '_')}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    single = typer.Typer(add_completion=False)
    single.command(name, cls=Command)(module.command)
    command = typer.main.get_command(single)
    path = module.__name__.removeprefix("covtool_cli.commands.").replace(".", " ")
    command.path = path.replace("_", "-")
    for parameter in command.params:
        parameter.show_envvar = False  # COVTOOL_<COMMAND>_<OPTION>, for all alike
        home.expand_in(parameter)
        if isinstance(parameter, TyperOption):
            choices.complete_in(parameter, path)
    command.params.append(help_all_option(hidden=not command.everyday))
    return command
