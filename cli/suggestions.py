"""Suggestions in typer's own errors: for an unknown option, and for a wrong choice."""

import re
from typing import Any

from covtool.near_names import guess

_WRONG_CHOICE = re.compile(r"'(?P<typed>.*)' is not one of '", re.DOTALL)


def after(problem: Any, message: str) -> str:
    """Return the question to end a usage error's message with, or nothing.

    Args:
        problem: typer's error, whose own list of possible options is removed.
        message: What it says.
    """
    ctx = getattr(problem, "ctx", None)
    if ctx is None:
        return ""
    if hasattr(problem, "possibilities"):
        problem.possibilities = None
        return _option(problem.option_name, ctx)
    parameter, wrong = getattr(problem, "param", None), _WRONG_CHOICE.match(message)
    descriptor = getattr(parameter, "type_descriptor", None)
    if wrong is None or descriptor is None:
        return ""
    return guess(wrong["typed"], map(str, descriptor.choices or ()))


def _option(typed: str, ctx: Any) -> str:
    parameters = ctx.command.get_params(ctx)
    flags = [flag for p in parameters for flag in (*p.opts, *p.secondary_opts)]
    names = {flag[2:]: flag for flag in flags if flag.startswith("--")}
    # A model is an argument here, and an option elsewhere.
    names |= {p.name: p.name.upper() for p in parameters if p.param_type_name == "argument"}
    found = guess(typed.lstrip("-"), names)
    for name, flag in names.items():
        found = found.replace(f"'{name}'", flag)
    return f".{found}"
