"""The frame of the command line: what is imported when, where options come from, how errors end."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest
import typer
from pydantic import Field

from covtool import atomic, errors
from covtool.specs import Record
from covtool_cli import options
from covtool_cli.commands.bench import BENCHMARKS
from covtool_cli.main import COMMANDS, exit_code, run

SUMMARIES = {**COMMANDS, **{f"bench {name}": text for name, text in BENCHMARKS.items()}}
"""Summaries of all commands and of those of groups."""


def module_of(command: str):
    return import_module(f"covtool_cli.commands.{command.replace('-', '_').replace(' ', '.')}")


@pytest.mark.parametrize("command", SUMMARIES)
def test_summary_is_the_first_line_of_the_commands_docstring(command: str) -> None:
    lines = module_of(command).command.__doc__.splitlines()
    assert lines[0] == SUMMARIES[command]
    assert any(f"Example: covtool {command}" in line for line in lines)


@pytest.mark.parametrize("command", sorted(SUMMARIES.keys() - {"bench"}))
def test_every_command_has_json_and_debug(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*command.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "--debug" in shown


LIGHT = (
    ["--help"],
    ["--version"],
    ["convert", "--help"],
    ["finetune", "--help"],
    ["finetune", "--help-all"],
    ["convrt"],
    ["compare", "--help"],
    ["compare", "net.pth", "--data", "birds", "-o", "birds.xml"],
    ["predict", "--help"],
    ["predict", "net.safetensors", "photo.jpg", "-o", "answers.xml"],
    ["export", "net.safetensors", "-o", "net.pb"],
    ["search", "gallery.index", "photo.jpg", "-o", "hits.xml"],
    ["bench", "--help"],
    ["bench", "retrieval", "--help"],
    ["bench", "heads", "--network", "resnet18"],
)


def test_help_and_usage_errors_import_neither_torch_nor_timm() -> None:
    program = (
        "import sys\nfrom covtool_cli.main import run\n"
        f"for arguments in {LIGHT!r}:\n"
        "    try:\n        run(arguments)\n    except SystemExit:\n        pass\n"
        "    heavy = {'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)\n"
        "    if heavy:\n        sys.exit(f'{arguments} imported {heavy}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_misspelt_command_suggests_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["convrt"])
    assert ended.value.code == 2
    assert "Did you mean 'convert'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.CovtoolError("x"), 1),
        (errors.ArgumentError("x"), 2),
        (errors.SurgeryError("x"), 2),
        (errors.UnknownVariantError("head", "x", ("y",)), 2),
        (errors.OutputExistsError("x"), 2),
        (errors.CheckpointError("x"), 3),
        (errors.UnsafeCheckpointError("x"), 3),
        (errors.UnrecognizedCheckpointError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.NonFiniteError("x"), 5),
        (errors.VerificationError("x"), 6),
        (errors.InterruptedRunError("x", signal_number=2), 130),
        (errors.InterruptedRunError("x", signal_number=15), 143),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code(problem: errors.CovtoolError, code: int) -> None:
    assert exit_code(problem) == code


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", "Use a smaller --batch-size"),
        ("DefaultCPUAllocator: can't allocate memory: you tried", "Use a smaller --batch-size"),
        ("something else", "This is an unexpected error: please report it"),
    ],
)
def test_other_errors_exit_1_with_what_may_help(covtool, monkeypatch, said, hint) -> None:
    from covtool_cli import render

    def fail(*arguments: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(render, "table", fail)
    code, _, err = covtool("list", "heads")
    assert code == 1
    assert f"error: RuntimeError: {said}" in err
    assert hint in err


class ToySpec(Record):
    rate: float = Field(0.5, gt=0, description="A rate.")
    kind: Literal["round", "flat"] = Field("round", description="A kind.")
    fast: bool = Field(False, description="Speed.")
    names: tuple[str, ...] = Field((), description="Names.")
    limit: int | None = Field(None, description="A limit.", json_schema_extra={"short": "-l"})


@pytest.fixture
def toy(tmp_path):
    """Runs a command made from `ToySpec`, and returns the spec that it got."""

    def call(*arguments: str, environment: dict[str, str] | None = None) -> ToySpec:
        got = []

        @options.takes(spec=ToySpec)
        def command(spec: ToySpec, config: options.Config = None) -> None:
            got.append(spec)

        app = typer.Typer(context_settings={"auto_envvar_prefix": "TOY"})
        app.command()(command)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            app(list(arguments), standalone_mode=False)
        return got[0]

    return call


def test_options_come_from_the_fields_of_a_spec(toy) -> None:
    assert toy() == ToySpec()
    said = toy("--rate", "2", "--kind", "flat", "--fast", "--names", "a", "--names", "b", "-l", "3")
    assert said == ToySpec(rate=2, kind="flat", fast=True, names=("a", "b"), limit=3)
    assert toy("--no-fast") == ToySpec()


def test_flag_beats_environment_beats_file_beats_default(toy, tmp_path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("rate: 3\nlimit: 7\nkind: flat\n")
    said = toy("--config", str(path), "--kind", "round", environment={"TOY_RATE": "4"})
    assert said == ToySpec(rate=4, limit=7, kind="round")


def test_unknown_key_in_a_file_is_an_error_with_a_guess(toy, tmp_path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("rat: 3\n")
    with pytest.raises(errors.ArgumentError, match="unknown key 'rat'"):
        toy("--config", str(path))


def test_value_out_of_range_names_the_flag(toy) -> None:
    with pytest.raises(errors.ArgumentError, match="--rate -1"):
        toy("--rate", "-1")


@pytest.mark.parametrize(
    "module",
    [
        *("covtool", "covtool.specs", "covtool.errors", "covtool.variant_names"),
        *("covtool.checkpoints.naming", "covtool.data.datasets.places", "covtool.indexing.places"),
    ],
)
def test_cheap_modules_stay_cheap(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def interrupted_after(*written):
    """Return the work of a command that Ctrl-C ends once some files were written."""

    def do(*arguments, **options):
        for path in written:
            path.parent.mkdir(exist_ok=True)
            with atomic.written_whole(path) as temporary:
                temporary.write_text("whole")
        with atomic.written_whole(Path("half.safetensors")) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    return do


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ((), "Interrupted: nothing was written."),
        (("a.npz",), "Interrupted. Written completely before that: a.npz."),
        (
            ("run/args.yaml", "run/env.json"),
            "What the run had saved is in run; go on with: --resume",
        ),
    ],
)
def test_ctrl_c_says_what_was_written(covtool, monkeypatch, tmp_path, written, words) -> None:
    do = interrupted_after(*map(Path, written))
    monkeypatch.setattr("covtool.checkpoints.inspection.inspect_source", do)
    code, _, err = covtool("inspect", "resnet18")
    assert code == 130
    assert words in err
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == set(written)
