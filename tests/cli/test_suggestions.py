"""What usage errors suggest."""

import pytest
from typer.core import TyperOption

from covtool.near_names import nearest
from covtool_cli.commands.bench import BENCHMARKS
from covtool_cli.lazy import load_command
from covtool_cli.main import COMMANDS

NAMES = [*(name for name in COMMANDS if name != "bench"), *(f"bench {name}" for name in BENCHMARKS)]


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (("finetune", "net", "--learning-rate", 1), "--lr"),
        (("finetune", "net", "--learning_rate=1"), "--lr"),
        (("finetune", "net", "--wd", 1), "--weight-decay"),
        (("finetune", "net", "--batch_size", 1), "--batch-size"),
        (("finetune", "net", "--label-smoothing", 0), "--smoothing"),
        (("finetune", "net", "--epcohs", 1), "--epochs"),
        (("finetune", "net", "--imgsz", 1), "--img-size"),
        (("evaluate", "--checkpoint", "net"), "MODEL"),
        (("export", "net", "--fp16"), "--half"),
        (("finetune", "net", "--sched", "CosineAnnealingLR"), "'cosine'"),
        (("finetune", "net", "--amp-dtype", "bf16"), "'bfloat16'"),
        (("finetune", "net", "--on-bad-image", "skp"), "'skip'"),
        (("list", "head"), "'heads'"),
    ],
    ids=str,
)
def test_the_word_of_another_trainer_or_a_slip_is_understood(covtool, arguments, suggested) -> None:
    code, _, err = covtool(*arguments)
    assert code == 2
    said = " ".join(err.replace("│", " ").split())
    assert f". Did you mean {suggested}?" in said
    assert "Possible options" not in said


def test_what_resembles_nothing_gets_no_suggestion(covtool) -> None:
    code, _, err = covtool("finetune", "net", "--zzzzzzzz")
    assert code == 2
    assert "No such option: --zzzzzzzz" in err
    assert "Did you mean" not in err


@pytest.mark.parametrize("name", NAMES)
def test_every_option_and_every_choice_with_a_letter_too_many_is_understood(name) -> None:
    *group, own = name.split()
    command = load_command(".".join(["covtool_cli.commands", *group]), own)
    options = [p for p in command.params if isinstance(p, TyperOption) and not p.hidden]
    flags = [flag[2:] for o in options for flag in (*o.opts, *o.secondary_opts) if flag[2:]]
    for flag in flags:
        assert nearest(flag + flag[-1], flags) == flag
    for option in options:
        words = [str(choice) for choice in option.type_descriptor.choices or ()]
        for word in words:
            assert nearest(word + word[-1], words) == word
