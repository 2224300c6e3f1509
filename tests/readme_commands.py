"""The commands of the README, in the README's own words."""

import re
import shlex
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def shell_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def covtool_commands() -> list[list[str]]:
    """Arguments of every call of covtool, in order."""
    calls = map(shlex.split, shell_lines())
    return [arguments for program, *arguments in calls if program == "covtool"]
