"""timm's spelling of arguments, made into ours before they are parsed."""

import re
from collections.abc import Sequence
from pathlib import Path

from covtool.errors import ArgumentError

STATISTICS = ("--mean", "--std")
INPUT_SIZE = "--input-size"

# With a comma behind it, as in `--mean 0.5, 0.5, 0.5`.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?,?", re.IGNORECASE)


def in_our_spelling(arguments: Sequence[str]) -> list[str]:
    """Return arguments with the numbers behind ``--mean`` and ``--std`` joined by commas.

    timm takes ``--mean 0.5 0.5 0.5``. A number that is the name of a file is left alone.

    Raises:
        ArgumentError: timm's ``--input-size`` is among them, which has another name here.

    Example:
        >>> in_our_spelling(["evaluate", "m.pth", "--mean", "0.5", "0.5", "0.5", "--std", "1"])
        ['evaluate', 'm.pth', '--mean', '0.5,0.5,0.5', '--std', '1']
    """
    ours: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":  # names of files follow, whatever they look like
            return [*ours, argument, *rest]
        if argument.partition("=")[0] == INPUT_SIZE:
            raise _no_input_size([argument.partition("=")[2], *rest])
        ours.append(argument)
        if argument in STATISTICS and rest:
            numbers = [rest.pop(0)]
            # MODEL and IMAGES may follow, so only numbers are taken.
            while rest and _NUMBER.fullmatch(numbers[-1]) and _is_number(rest[0]):
                numbers.append(rest.pop(0))
            joined = ",".join(number.strip(",") for number in numbers)
            ours.append(joined if len(numbers) > 1 else numbers[0])
    return ours


def _is_number(argument: str) -> bool:
    return bool(_NUMBER.fullmatch(argument)) and not Path(argument).exists()


def _no_input_size(behind: Sequence[str]) -> ArgumentError:
    numbers = []
    for argument in filter(None, behind):
        if not argument.isdecimal():
            break
        numbers.append(argument)
    # timm's numbers are channels, height and width.
    sides = numbers[-2:] or ["224"]
    size = sides[0] if len(set(sides)) == 1 else "x".join(sides)
    return ArgumentError(
        f"There is no option {INPUT_SIZE}.",
        reason="The number of channels comes from the model.",
        hint=f"Give height and width: --img-size {size}.",
    )
