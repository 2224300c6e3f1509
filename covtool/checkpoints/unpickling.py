"""Read what torch.save wrote without running anything that the file brings along."""

import argparse
import pickle
import pickletools
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from covtool.checkpoints.file_kinds import damaged
from covtool.errors import CheckpointError, UnsafeCheckpointError

ALLOWED = (argparse.Namespace, OrderedDict)  # beside what torch itself allows
_LEGACY_PICKLES = 4  # magic number, protocol, system, the object
_SHOWN = 4
_COMMON = ("__builtin__.", "builtins.", "collections.", "torch.")  # named last

RESAVE = (
    "If you trust it, save its tensors alone: content = torch.load(PATH, weights_only=False), then "
    "torch.save(content.state_dict(), NEW_PATH); of a dictionary, save the part with the tensors."
)


def load_torch_file(path: Path, *, archive: bool) -> Any:
    """What torch.save put into a file, on the CPU.

    Args:
        path: The file.
        archive: Whether it is a zip archive (then its tensors stay on the disk until used), not
            the format from before torch 1.6.

    Raises:
        UnsafeCheckpointError: Its objects are of classes that are not allowed; they are named.
        CheckpointError: The file is damaged.
    """
    # torch takes a path's suffix for its format; a file object it has to look into.
    mapped = archive and path.suffix != ".safetensors"
    with warnings.catch_warnings(), torch.serialization.safe_globals(list(ALLOWED)):
        warnings.simplefilter("ignore")  # about what is in the file; it is checked afterwards
        try:
            if mapped:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as problem:
            raise _explained(path, archive, problem) from problem


def _explained(path: Path, archive: bool, problem: Exception) -> CheckpointError:
    try:
        names = _zip_globals(path) if archive else _legacy_globals(path)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError):
        names = []
    if not names:
        return damaged(path, (str(problem).splitlines() or [type(problem).__name__])[0])
    names.sort(key=lambda name: (name.startswith(_COMMON), name))
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    whole = any("torch.nn.modules." in name for name in names)
    return UnsafeCheckpointError(
        f"{path} cannot be read without running code.",
        reason=f"It holds {'a whole pickled model' if whole else 'objects'}, not only tensors: "
        f"{shown}{more}.",
        hint=RESAVE,
    )


def _zip_globals(path: Path) -> list[str]:
    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))


def _legacy_globals(path: Path) -> list[str]:
    """Classes and functions that the old format names, found without executing it."""
    names = set()
    with path.open("rb") as file:
        for _ in range(_LEGACY_PICKLES):
            names |= _named_globals(file)
    allowed = {f"{kind.__module__}.{kind.__qualname__}" for kind in ALLOWED}
    return sorted(n for n in names - allowed if not _is_torch_own(n))


def _named_globals(file: Any) -> set[str]:
    names, strings = set(), ["", ""]
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            names.add(argument.replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return names


def _is_torch_own(name: str) -> bool:
    """Whether torch's own unpickler knows it: storages, dtypes, how tensors are put together."""
    module, _, attribute = name.rpartition(".")
    return module in ("torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter") or (
        module == "torch" and not attribute.islower()
    )
