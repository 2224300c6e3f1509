"""The few calls by which pickle itself makes objects, put in the terms of the object's class."""

from collections.abc import Callable, Mapping
from typing import Any

from covtool.checkpoints.pickles.records import (
    LONGEST_NAME,
    CodeError,
    GlobalName,
    PickleError,
    Placeholder,
)

_MOST_OWN_ARGUMENTS = 3
_COPIED = (dict, list, tuple)


def call(
    callee: Any, arguments: tuple, keywords: dict[str, Any], spend: Callable[[int], None]
) -> Placeholder | GlobalName:
    """Return what stands for a call; nothing is called.

    Args:
        callee: Function or class to call.
        arguments: Positional arguments.
        keywords: Keyword arguments.
        spend: Function that counts the values that are copied.

    Raises:
        CodeError: What is to be called is itself the result of a call.
        PickleError: It is nothing that can be called.
    """
    callee = class_of(callee)
    own = _OWN_CALLS.get(callee.full)
    if own is None:
        return Placeholder(callee, arguments, keywords)
    # A memoized list in ten thousand calls would be copied ten thousand times.
    copied = (part for part in arguments[:_MOST_OWN_ARGUMENTS] if isinstance(part, _COPIED))
    spend(len(arguments) + sum(map(len, copied)))
    return own(arguments)


def class_of(callee: Any) -> GlobalName:
    """Return the name that is called.

    Raises:
        CodeError: It would be the result of a call.
        PickleError: It is not a name.
    """
    if isinstance(callee, Placeholder):
        raise CodeError([f"what {callee.name} returns, as a function"])
    if not isinstance(callee, GlobalName):
        raise PickleError(f"It calls a {type(callee).__name__}.")
    return callee


def _reconstructor(arguments: tuple) -> Placeholder:
    """Put `copyreg._reconstructor(cls, base, state)`, of protocols 0 and 1, as its class."""
    cls, base, content, *_ = (*arguments, None, None, None)
    made = Placeholder(class_of(cls))
    if isinstance(content, dict):
        made.items = dict(content)
    elif isinstance(content, list):
        made.elements = list(content)
    elif isinstance(base, GlobalName) and base.qualname != "object":
        made.arguments = (content,)
    return made


def _new(arguments: tuple) -> Placeholder:
    """Put `copyreg.__newobj__(cls, *arguments)` as its class."""
    if not arguments:
        raise PickleError("It makes an object of no class.")
    return Placeholder(class_of(arguments[0]), arguments[1:])


def _new_with_keywords(arguments: tuple) -> Placeholder:
    """Put `copyreg.__newobj_ex__(cls, arguments, keywords)` as its class."""
    cls, values, keywords = arguments if len(arguments) == 3 else (None, None, None)
    if not isinstance(values, tuple) or not isinstance(keywords, Mapping):
        raise PickleError("The arguments of a call are not a tuple.")
    return Placeholder(class_of(cls), values, dict(keywords))


def _attribute(arguments: tuple) -> Placeholder | GlobalName:
    """Put `getattr(owner, name)`, of enumerations, nested classes and methods, as a name.

    Nothing is looked up: the result is the name itself, or the method's owner beside it.
    """
    owner, name = arguments if len(arguments) == 2 else (None, None)
    # Chains of special names, as __globals__ and __class__, are how attacks leave a class.
    short = isinstance(name, str) and len(name) <= LONGEST_NAME
    if not short or not name.isidentifier() or name.startswith("__"):
        raise CodeError(["builtins.getattr"])
    if isinstance(owner, GlobalName):
        return GlobalName(owner.module, f"{owner.qualname}.{name}")
    if isinstance(owner, Placeholder):
        callee = owner.callee
        return Placeholder(GlobalName(callee.module, f"{callee.qualname}.{name}"), (owner,))
    raise CodeError(["builtins.getattr"])


_OWN_CALLS: dict[str, Callable[[tuple], Placeholder | GlobalName]] = {
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new,
    "copyreg.__newobj_ex__": _new_with_keywords,
    "builtins.getattr": _attribute,
}
