"""`--help` and `--help-all`: laws over all commands."""

import re

import pytest
from typer.core import TyperArgument, TyperOption

from covtool_cli import everyday
from covtool_cli.commands.bench import BENCHMARKS
from covtool_cli.lazy import load_command
from covtool_cli.main import COMMANDS

MOST_LINES = 70
WIDTHS = (80, 55)

NAMES = [*(name for name in COMMANDS if name != "bench"), *(f"bench {name}" for name in BENCHMARKS)]


def command_of(name: str):
    *group, own = name.split()
    return load_command(".".join(["covtool_cli.commands", *group]), own)


def names_in(text: str) -> set[str]:
    """Return the flags in the column of names."""
    rows = re.findall(r"^  (?! )(.+?)(?:  .*)?$", text, re.MULTILINE)
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", " ".join(rows)))


def flags_of(options) -> set[str]:
    return {flag for o in options for flag in (*o.opts, *o.secondary_opts)}


@pytest.fixture
def shown(covtool, monkeypatch):
    def show(*words: str, width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, err = covtool(*words)
        assert (code, err) == (0, "")
        return out

    return show


@pytest.mark.parametrize("name", NAMES)
def test_help_is_short(name: str, shown) -> None:
    text = shown(*name.split(), "--help")
    assert len(text.splitlines()) <= MOST_LINES
    command = command_of(name)
    options = [o for o in command.params if isinstance(o, TyperOption) and not o.hidden]
    kept = {name for names in command.everyday.values() for name in names}
    assert len(kept or options) + (len(everyday.OF_EVERY_COMMAND) if kept else 1) <= (
        everyday.MOST_SHOWN
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_all_has_every_parameter_once(name: str, shown) -> None:
    text = shown(*name.split(), "--help-all")
    command = command_of(name)
    options = [o for o in command.params if isinstance(o, TyperOption) and not o.hidden]
    assert flags_of(options) | {"--help", "-h"} == names_in(text) - {"-"}
    for option in options:
        long = next(flag for flag in option.opts if flag.startswith("--"))
        assert len(re.findall(rf"^  (?:-\w, )?{long}(?=[ ,\n])", text, re.MULTILINE)) == 1
    for argument in (p for p in command.params if isinstance(p, TyperArgument)):
        assert (argument.metavar or argument.name.upper()) in text.partition("Arguments:")[2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_too_long_and_no_name_cut(name: str, width: int, shown) -> None:
    for flag in ("--help", "--help-all"):
        text = shown(*name.split(), flag, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert "typing." not in text
        assert "needs covtool." not in text
        assert "\\[" not in text


@pytest.mark.parametrize("name", everyday.EVERYDAY)
def test_everyday_options_are_the_commands_and_the_help_counts_the_others(name, shown) -> None:
    command = command_of(name)
    everyday_names = [n for names in command.everyday.values() for n in names]
    assert len(everyday_names) == len(set(everyday_names))
    options = {o.name: o for o in command.params if isinstance(o, TyperOption)}
    assert set(everyday_names) <= options.keys()
    text = shown(name, "--help")
    of_all = flags_of(options[n] for n in everyday_names)
    last = {f"--{n.replace('_', '-')}" for n in everyday.OF_EVERY_COMMAND} | {"-h"}
    assert names_in(text) == of_all | last
    number = len(options) + 1 - len(everyday_names) - len(everyday.OF_EVERY_COMMAND)
    assert f"\n{number} more options are seldom used: covtool {name} --help-all" in text


def test_extras_keep_their_brackets(shown) -> None:
    assert re.search(r"covtool\[\w+\]", shown("finetune", "--help-all"))


def test_a_command_to_copy_goes_on_after_a_backslash(shown) -> None:
    text = shown("bench", "convs", "--help", width=50)
    assert re.search(r"^Example: covtool bench convs .* \\\n    ", text, re.MULTILINE)
