"""The text of ``--help`` and ``--help-all``, by panels, with whole names at any width."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from covtool_cli.choices import CHOICES
from covtool_cli.everyday import EVERYDAY, LAST, OF_EVERY_COMMAND

ALL = "help_all"
"""Name of the parameter of ``--help-all``; where the context keeps that all is asked for."""

NAMES_WIDTH = 29
"""Columns of the names at most, where no single name is longer."""

NARROWEST, WIDEST = 50, 110
"""Columns of the text, whatever the terminal has."""

_WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}

Panels = dict[str, list[TyperOption]]


class Command(TyperCommand):
    """A command whose help shows the options of its table in `EVERYDAY`, or all of them."""

    path: str = ""
    """Name with those of its groups in front, as it is typed: ``bench data`` is not ``data``."""

    @property
    def everyday(self) -> Mapping[str, tuple[str, ...]]:
        """The panels of options that ``--help`` shows; empty where it shows all."""
        return EVERYDAY.get(self.path, {})

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:
        """Write the help to stdout."""
        is_all = ctx.meta.get(ALL, False) or not self.everyday
        _show(self, ctx, self.panels(ctx, every=is_all), every=is_all)

    def panels(self, ctx: typer.Context, *, every: bool) -> Panels:
        """Return the options to show, by the titles of their panels."""
        parameters = (p for p in self.get_params(ctx) if isinstance(p, TyperOption))
        options = {p.name: p for p in parameters if not p.hidden}
        last = [o for o in options.values() if _is_of_every_command(o)]
        found: Panels = {
            title: [options[name] for name in names] for title, names in self.everyday.items()
        }
        shown = {option.name for panel in (*found.values(), last) for option in panel}
        rest: list[TyperOption] = []
        for option in options.values() if every else ():
            if option.name in shown:
                continue
            panel = option.rich_help_panel
            (rest if panel is None else found.setdefault(panel, [])).append(option)
        return {**found, "More options" if found else "Options": rest, LAST: last}

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        """Return the words after the command's name in the line on its usage."""
        arguments = (p for p in self.get_params(ctx) if isinstance(p, TyperArgument))
        pieces = (_argument(a) if a.required else f"[{_argument(a)}]" for a in arguments)
        return ["[OPTIONS]", *pieces]


def help_all_option(*, hidden: bool) -> TyperOption:
    """Return the option that shows the help with all options, and ends the command.

    Args:
        hidden: Leave it out of the help, which shows all of them without it.
    """

    def show_all(ctx: typer.Context, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[ALL] = True
            ctx.command.format_help(ctx, ctx.make_formatter())
            ctx.exit()

    shown = typer.Option(
        "--help-all",
        callback=show_all,
        is_eager=True,
        expose_value=False,
        hidden=hidden,
        help="Show this with the options that are seldom used.",
    )

    def only(help_all: Annotated[bool, shown] = False) -> None: ...

    # typer makes options of signatures alone
    made = typer.Typer(add_completion=False)
    made.command()(only)
    return typer.main.get_command(made).params[0]


def _is_of_every_command(option: TyperOption) -> bool:
    return any(flag[2:].replace("-", "_") in OF_EVERY_COMMAND for flag in option.opts)


def _show(command: Command, ctx: typer.Context, panels: Panels, *, every: bool) -> None:
    width = max(NARROWEST, min(get_terminal_size().columns, WIDEST))
    arguments = [p for p in command.get_params(ctx) if isinstance(p, TyperArgument)]
    rows = {"Arguments": [_row(p) for p in arguments]} if arguments else {}
    rows |= {title: [_row(p) for p in options] for title, options in panels.items() if options}
    typer.echo("\n".join(_lines(command, ctx, rows, width, every=every)))


def _lines(
    command: Command,
    ctx: typer.Context,
    rows: Mapping[str, list[tuple[list[str], str]]],
    width: int,
    *,
    every: bool,
) -> Iterator[str]:
    usage = command.collect_usage_pieces(ctx)
    yield from wrap(f"Usage: {ctx.command_path} {' '.join(usage)}", width, subsequent_indent="  ")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ""
        yield from _paragraph(" ".join(paragraph.split()), width)
    column = _width_of_names(rows, width)
    for title, group in rows.items():
        yield ""
        yield typer.style(f"{title}:", bold=True)  # plain where it is no terminal
        for names, text in group:
            yield from _two_columns(_folded(names, column), text, column, width)
    if not every:
        number = len(command.get_params(ctx)) - sum(map(len, rows.values()))
        yield ""
        yield from wrap(
            f"{number} more options are seldom used: covtool {command.name} --help-all shows them.",
            width,
        )


def _paragraph(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a paragraph; a command to copy goes on after a backslash."""
    if not text.startswith("Example: "):
        yield from wrap(text, width)
        return
    lines = wrap(text, width - 2, subsequent_indent="    ", break_on_hyphens=False)
    yield from (f"{line} \\" for line in lines[:-1])
    yield lines[-1]


def _width_of_names(rows: Mapping[str, list[tuple[list[str], str]]], width: int) -> int:
    longest_word = max(len(word) for group in rows.values() for names, _ in group for word in names)
    longest_line = max(len(" ".join(names)) for group in rows.values() for names, _ in group)
    return min(max(longest_word, min(longest_line, NAMES_WIDTH)), max(width // 2, longest_word))


def _folded(words: list[str], width: int) -> list[str]:
    """Return words on lines; no word is broken."""
    return wrap(" ".join(words), width, break_long_words=False, break_on_hyphens=False)


def _two_columns(names: list[str], text: str, column: int, width: int) -> Iterator[str]:
    room = max(width - column - 4, 20)
    lines = wrap(text, room, break_on_hyphens=False)
    for place in range(max(len(names), len(lines))):
        name = names[place] if place < len(names) else ""
        line = lines[place] if place < len(lines) else ""
        yield f"  {name:<{column}}  {line}".rstrip()


def _row(parameter: TyperOption | TyperArgument) -> tuple[list[str], str]:
    """Return the words in the column of names, and the text beside them."""
    if isinstance(parameter, TyperArgument):
        names = [_argument(parameter)]
    else:
        flags = sorted([*parameter.opts, *parameter.secondary_opts], key=_is_long)
        names = [f"{flag}," for flag in flags[:-1]] + flags[-1:]
        names += [] if parameter.is_flag else _value(parameter).split()
    remarks = [*_choices_remark(parameter), *_range(parameter), *_default(parameter)]
    help = parameter.help or ""
    return names, " ".join([help, *remarks]).strip()


def _argument(argument: TyperArgument) -> str:
    """Return the word for an argument; a metavar of its own says that it may be repeated."""
    repeated = "..." if argument.nargs != 1 and not argument.metavar else ""
    return (argument.metavar or argument.name.upper()) + repeated


def _is_long(flag: str) -> bool:
    return flag.startswith("--")


def _value(parameter: TyperOption) -> str:
    """Return the word for an option's value."""
    if parameter.metavar:
        return parameter.metavar.strip("<>").replace("float", "X")
    if parameter.name in CHOICES and parameter.type_descriptor.annotation is not float:
        return "NAME"
    if parameter.type_descriptor.is_choice:
        text = "|".join(_choices(parameter))
        return text if len(text) <= NAMES_WIDTH - len(parameter.opts[0]) - 1 else "NAME"
    return " ".join(_words(parameter.type_descriptor.annotation))


def _words(annotation: Any) -> Iterator[str]:
    inner = get_args(annotation)
    for kind in inner or (annotation,):
        yield _WORDS.get(kind, "TEXT")


def _choices(parameter: TyperOption | TyperArgument) -> list[str]:
    return [str(choice) for choice in parameter.type_descriptor.choices or ()]


def _choices_remark(parameter: TyperOption | TyperArgument) -> Iterator[str]:
    choices = _choices(parameter)
    beside = isinstance(parameter, TyperOption) and _value(parameter) == "|".join(choices)
    # Text that explains each choice names them already.
    if choices and not beside and not _all_named(choices, parameter.help or ""):
        yield f"One of: {', '.join(choices)}."


def _all_named(choices: Iterable[str], text: str) -> bool:
    words = set(re.findall(r"[\w+-]+", text))
    return all(choice in words for choice in choices)


def _range(parameter: TyperOption | TyperArgument) -> Iterator[str]:
    if parameter.min is not None and parameter.max is not None:
        yield f"[{parameter.min} to {parameter.max}]"
    elif parameter.min is not None and parameter.min > 1:  # 0 and 1 go without saying
        yield f"[at least {parameter.min}]"
    elif parameter.max is not None:
        yield f"[at most {parameter.max}]"


def _default(parameter: TyperOption | TyperArgument) -> Iterator[str]:
    default = parameter.default
    if isinstance(parameter.show_default, str):
        yield f"[default: {parameter.show_default}]"
    elif not parameter.show_default or default in (None, False, (), []) or callable(default):
        return
    elif default is True:
        yield "[default: on]"
    elif isinstance(default, list | tuple):
        yield f"[default: {' '.join(map(str, default))}]"
    else:
        yield f"[default: {default}]"
