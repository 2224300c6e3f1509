"""How long commands take to start, right and misspelt, beside ``import torch``.

    python benchmarks/startup.py [--before CHECKOUT] [--rounds 5] [--output FILE]

A ResNet-50 at random, a state dict in a temporary folder, is what the commands are about. Each
round runs every row once, one after the other, this checkout's commands and those of another
checkout, so that a busy machine is busy for all alike. Time is the processor's, of the process and
its children, which a machine that others use too does not change much, and that of a clock. Ratios
are to ``import torch`` of the same round; all figures are medians over the rounds. A round before
them is not counted: Python keeps what it has compiled. The line "loading torch ..." is waited
for on a pseudoterminal.
"""

import argparse
import os
import platform
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent.parent
CALL = "from covtool_cli.main import run; run()"
LINE = b"loading torch"

IMPORTS = {
    "import torch": "import torch",
    "import torch, torchvision, timm": "import torch, torchvision, timm",
}
RIGHT = {
    "inspect": "inspect resnet50.pth",
    "convert": "convert resnet50.pth --head isqrt --overwrite",
}
WRONG = {
    "path": "inspect resnet5.pth",
    "name of a model": "inspect resnet5",
    "name of a head": "convert resnet50.pth --head isqr",
    "data folder": "finetune resnet50.pth --data brds",
    "existing output": "convert resnet50.pth --head isqrt -o taken.safetensors",
}


@dataclass(frozen=True)
class Took:
    """What one run of a program took.

    Attributes:
        cpu: Seconds of the processor.
        wall: Seconds on the clock.
        code: Exit code.
    """

    cpu: float
    wall: float
    code: int


def sources_of(checkout: Path, folder: Path) -> Path:
    """Return a folder from which the packages of a checkout are imported."""
    folder.mkdir()
    (folder / "covtool").symlink_to(checkout / "covtool")
    (folder / "covtool_cli").symlink_to(checkout / "cli")
    return folder


def environment(sources: Path) -> dict[str, str]:
    """Return variables of a process that imports the packages of a folder, and compiles once."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": str(sources)}


def run_once(program: str, arguments: Sequence[str], place: Path, sources: Path) -> Took:
    """Run a Python program to its end."""
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=place,
        env=environment(sources),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    return Took(usage.ru_utime + usage.ru_stime, wall, child.returncode)


def until_line(arguments: Sequence[str], place: Path, sources: Path) -> Took:
    """Run a command on a terminal until it says that it loads torch, and end it then."""
    ours, theirs = pty.openpty()
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", CALL, *arguments],
        cwd=place,
        env=environment(sources),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while LINE not in seen:
        seen += os.read(ours, 1024)
    wall = time.monotonic() - start
    child.kill()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    os.close(ours)
    return Took(usage.ru_utime + usage.ru_stime, wall, 0)


def make_place(place: Path) -> None:
    """Write what the commands are about, in a process of its own: this one loads no torch."""
    program = (
        "import torch, torchvision; torch.manual_seed(0); "
        "torch.save(torchvision.models.resnet50(weights=None).state_dict(), 'resnet50.pth')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=place, check=True)
    (place / "taken.safetensors").write_bytes(b"")


def measured(
    rounds: int, place: Path, checkouts: dict[str, Path], all_wrong: str
) -> dict[tuple[str, str], list[Took]]:
    """Return what each row took in each whole round, by row and checkout; Ctrl-C ends it early."""
    took: dict[tuple[str, str], list[Took]] = {}
    with suppress(KeyboardInterrupt):
        for number in range(rounds + 1):
            one: dict[tuple[str, str], Took] = {}
            for name, program in IMPORTS.items():
                one[name, ""] = run_once(program, (), place, HERE / "none")
            for which, sources in checkouts.items():
                rows = {
                    **RIGHT,
                    **(WRONG if which == all_wrong else dict([next(iter(WRONG.items()))])),
                }
                for name, command in rows.items():
                    one[name, which] = run_once(CALL, command.split(), place, sources)
            command = RIGHT["inspect"].split()
            one["until the line", all_wrong] = until_line(command, place, checkouts[all_wrong])
            for row, done in one.items() if number else ():
                took.setdefault(row, []).append(done)
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return took


def table(took: dict[tuple[str, str], list[Took]]) -> list[str]:
    """Return the rows of a Markdown table."""
    torch = took["import torch", ""]
    lines = [
        "| | checkout | exit code | CPU s | over torch | beyond it | clock s | over torch "
        "| beyond it |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (name, which), runs in took.items():
        columns = []
        for kind in ("cpu", "wall"):
            pairs = [
                (getattr(run, kind), getattr(base, kind))
                for run, base in zip(runs, torch, strict=True)
            ]
            columns += [
                median(run for run, _ in pairs),
                median(run / base for run, base in pairs),
                median(run - base for run, base in pairs),
            ]
        codes = ", ".join(str(code) for code in sorted({run.code for run in runs}))
        figures = " | ".join(f"{figure:.2f}" for figure in columns)
        lines.append(f"| {name} | {which} | {codes} | {figures} |")
    return lines


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="Markdown file; default: standard output")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "place")
        place.mkdir()
        make_place(place)
        checkouts = {"now": sources_of(HERE, Path(folder, "now"))}
        if asked.before is not None:
            before = sources_of(asked.before.resolve(), Path(folder, "before"))
            checkouts = {"before": before, **checkouts}
        took = measured(asked.rounds, place, checkouts, "now")
    lines, done = table(took), len(took["import torch", ""])
    load = f"{os.cpu_count()} cores, Python {platform.python_version()}, {done} rounds"
    text = "\n".join([*lines, "", load, ""])
    if asked.output is None:
        print(text)
    else:
        asked.output.write_text(text)


if __name__ == "__main__":
    main()
