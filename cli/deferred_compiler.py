"""torch, torchvision and timm without torch's compiler, until something is compiled.

They import ``torch._dynamo``, which takes as long as torch itself: torchvision for one function
that only a GPU calls, timm and torch's counter of operations for a decorator that matters to what
is compiled.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

PACKAGE = "torch._dynamo"
UTILS = f"{PACKAGE}.utils"


def import_vision() -> None:
    """Import torch, torchvision and timm; the compiler only where one of them uses it at once."""
    import torch.compiler

    if PACKAGE in sys.modules:
        return
    # Here alone: whatever else asks for the compiler gets it.
    with _stand_ins(), _deferred(torch.compiler, "disable"), _deferred(torch, "_disable_dynamo"):
        import timm  # noqa: F401
        import torch.utils.flop_counter
        import torchvision  # noqa: F401


class _StandIn(ModuleType):
    """A module that is loaded once something is asked of it that is not there."""

    def __getattr__(self, attribute: str) -> Any:
        # Python itself asks whether a module is a package, and the like.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), attribute)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Have modules in the compiler's place that know one function."""
    package, utils = _StandIn(PACKAGE), _StandIn(UTILS)
    package.utils, utils.is_compile_supported = utils, _is_compile_supported
    sys.modules |= {PACKAGE: package, UTILS: utils}
    try:
        yield
    finally:
        _remove_stand_ins()


def _remove_stand_ins() -> None:
    for name in (PACKAGE, UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _is_compile_supported(device_type: Any) -> bool:
    return importlib.import_module(UTILS).is_compile_supported(device_type)


@contextmanager
def _deferred(owner: ModuleType, name: str) -> Iterator[None]:
    """Let a decorator keep functions from the compiler once there is one.

    Args:
        owner: Module of the decorator.
        name: Name of the decorator there; where a version of torch has none, nothing is done.
    """
    disable = getattr(owner, name, None)
    if disable is None:
        yield
        return

    def deferred(function: Any = None, *arguments: Any, **options: Any) -> Any:
        if function is None:
            return functools.partial(deferred, **options)
        if not callable(function) or isinstance(function, type):
            return disable(function, *arguments, **options)

        @functools.cache
        def disabled() -> Callable:
            return disable(function, *arguments, **options)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if PACKAGE not in sys.modules:  # nothing is being compiled
                return function(*args, **kwargs)
            return disabled()(*args, **kwargs)

        return called

    setattr(owner, name, deferred)
    try:
        yield
    finally:
        setattr(owner, name, disable)
