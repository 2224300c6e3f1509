"""Compiled forms of what is measured."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from covtool.errors import ArgumentError

FORMS = 256  # compiled forms of one forward method; torch stops compiling after 8


@contextmanager
def compiling() -> Iterator[None]:
    """Start with no compiled code, and let every layer of a class have its own."""
    # Code of an earlier benchmark would count towards the limit, and share its guards.
    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=FORMS, accumulated_recompile_limit=FORMS):
        yield
    torch.compiler.reset()


def require_compiler(device: torch.device | str) -> None:
    """Make sure that `torch.compile` works.

    Raises:
        ArgumentError: It does not, as where there is no C++ compiler for a CPU.
    """
    # The cheapest function that needs the whole tool chain, before minutes of measuring.
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except RuntimeError as problem:
        raise ArgumentError(
            f"--compile: torch.compile does not work on {str(device)!r} here.",
            reason=str(problem).strip().splitlines()[0],
            hint="For a CPU it needs a C++ compiler: install g++, or name one in CXX. "
            "Or leave --compile out.",
        ) from problem
