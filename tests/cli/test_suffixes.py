"""Every option of every command that names an output refuses the name of another format.

An option is an output by its help: what it says it writes or draws. A new one is tested by that.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from covtool.atomic.formats import OUTPUTS
from covtool_cli.main import app

NAMES = {
    "foo": "x.foo",
    "another format": "x.{other}",
    "an archive of the format": "x.{suffix}.gz",
    "none": "x",
    "a dot": "x.",
    "the suffix alone": ".{suffix}",
    "a timm name": "resnet50.a1_in1k",
}

OTHERS = {"export --output": "npz"}
"""Formats that an option does not write, where it writes .pt2."""

_OUTPUT = re.compile(r"(file|table|picture)\b.*\b(to write|to draw)", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(safetensors|npz|csv|svg|pdf|png|onnx|pt2|jsonl|parquet|index)\b")


def _commands(command, words=()):
    if not hasattr(command, "list_commands"):
        yield words, command
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), (*words, name))


def _outputs():
    for words, command in _commands(typer.main.get_command(app)):
        for parameter in command.params:
            told = getattr(parameter, "help", None) or ""
            if parameter.param_type_name == "option" and _OUTPUT.search(told):
                yield " ".join((*words, parameter.opts[0])), _SUFFIX.search(told)


FOUND = dict(_outputs())


def test_the_options_that_name_outputs_are_found():
    assert {
        "convert --output",
        "embed --output",
        "plot --output",
        "evaluate --save-features",
        "evaluate --save-ranks",
    } <= FOUND.keys()


@pytest.mark.parametrize("option", FOUND)
def test_another_suffix_is_refused_before_anything_else(covtool, option, tmp_path):
    suffix = FOUND[option][1] if FOUND[option] else "png"
    for kind, name in NAMES.items():
        given = name.format(suffix=suffix, other=OTHERS.get(option, "pt2"))
        code, out, err = covtool(*option.split(), given)
        assert (code, out) == (2, ""), kind
        assert "is not the name of" in err, kind
        assert "The name must end in" in err, kind
        assert "Call it" in err, kind
    assert list(tmp_path.iterdir()) == []


def test_they_are_refused_without_torch():
    program = (
        "import sys\nfrom covtool_cli.main import run\n"
        f"for option in {list(FOUND)!r}:\n"
        "    try:\n        run([*option.split(), 'x.foo'])\n"
        "    except SystemExit as end:\n        assert end.code == 2, option\n"
        "heavy = {'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not the name of") == len(FOUND)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_library_refuses_them_as_well(kind):
    with pytest.raises(ValueError, match="is not the name of"):
        OUTPUTS[kind](Path("x.foo"))
