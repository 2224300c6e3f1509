"""What the shell completes: the words of the tables, without importing torch."""

import subprocess
import sys

import pytest
from typer.core import TyperOption

from covtool.evaluation.classification.attacks import ATTACKS
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.filters import WEIGHTINGS
from covtool.ops.magnitudes import MAGNITUDES
from covtool.presets import PRESETS
from covtool.specs.losses import LOSSES
from covtool.variants import CONVOLUTIONS, HEADS
from covtool_cli import choices
from covtool_cli.commands.bench import BENCHMARKS
from covtool_cli.commands.bench.retrieval import SEARCHES
from covtool_cli.lazy import load_command
from covtool_cli.main import COMMANDS

TABLES = {
    "angular": ANGULAR_ACTIVATIONS.names,
    "attack": ATTACKS.names,
    "conv": CONVOLUTIONS.names,
    "head": HEADS.names,
    "loss": LOSSES.names,
    "magnitudes": MAGNITUDES.names,
    "preset": PRESETS.names,
    "weighting": WEIGHTINGS.names,
    "bench retrieval search": SEARCHES,
    "list show": PRESETS.names,
}
COMPLETING = [
    *(name for name in COMMANDS if name != "bench"),
    *(f"bench {name}" for name in BENCHMARKS),
]


@pytest.mark.parametrize("name", TABLES)
def test_completed_names_are_those_of_the_table(name: str) -> None:
    assert choices.CHOICES[name] == TABLES[name]


def test_completed_optimizers_are_timms() -> None:
    from timm.optim import list_optimizers

    assert set(choices.OPTIMIZERS) <= set(list_optimizers())


@pytest.mark.parametrize("name", COMPLETING)
def test_every_choice_completes_its_values(name: str) -> None:
    *group, own = name.split()
    command = load_command(".".join(["covtool_cli.commands", *group]), own)
    ctx = command.make_context(own, [], resilient_parsing=True)
    for option in (p for p in command.params if isinstance(p, TyperOption)):
        closed = tuple(map(str, option.type_descriptor.choices or ()))
        words = closed or choices.CHOICES.get(f"{name} {option.name}")
        words = words or choices.CHOICES.get(option.name, ())
        completed = [item.value for item in option.shell_complete(ctx, "")]
        assert completed == list(words), option.name
        for word in words:
            assert word in [item.value for item in option.shell_complete(ctx, word[:2])]


COMPLETED = {
    "convert net.pth --head is": {"isqrt"},
    "finetune net --preset ": set(PRESETS.names),
    "convert net.pth --conv ta": {"tanh"},
    "finetune net --opt nada": {"nadam", "nadamw"},
    "finetune net --sched co": {"cosine", "constant"},
    "finetune net --crop-p": {"--crop-pct"},
}


def test_a_shell_completes_without_torch() -> None:
    program = (
        "from covtool_cli.main import run; import os, sys; sys.argv[0] = 'covtool'\n"
        f"for words in {list(COMPLETED)!r}:\n"
        "    line = f'covtool {words}'\n"
        "    place = str(len(line.split(' ')) - 1)\n"
        "    os.environ |= {'_COVTOOL_COMPLETE': 'complete_bash'}\n"
        "    os.environ |= {'COMP_WORDS': line, 'COMP_CWORD': place}\n"
        "    try:\n        run()\n"
        "    except SystemExit:\n"
        "        print('end of', words)\n"
        "        print(*({'torch', 'timm', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    rest = done.stdout
    for words, completed in COMPLETED.items():
        shown, _, rest = rest.partition(f"end of {words}\n")
        assert set(shown.split()) == completed, words
