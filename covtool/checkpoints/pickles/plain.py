"""Records and settings as nothing but dictionaries, lists, texts and numbers."""

import argparse
import types
from collections import deque
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor

from covtool.checkpoints.pickles.records import GlobalName, Placeholder

_MOST_LEVELS = 32
_MAPPINGS = ("Dict", "Namespace", "Config", "CfgNode", "Params", "Args", "Arguments")


def plain(value: Any) -> Any:
    """A value of a checkpoint without classes: what is a mapping in nature becomes a dictionary.

    Namespaces, settings of every library and objects with attributes become dictionaries by name,
    sequences and sets lists, NumPy's numbers Python's, paths and classes text. Tensors and arrays
    stay. What holds itself, or is nested too deeply, ends in None.

    Example:
        >>> from argparse import Namespace
        >>> plain(Namespace(lr=0.1, path=PurePath("a", "b"), sizes=(1, 2)))
        {'lr': 0.1, 'path': 'a/b', 'sizes': [1, 2]}
    """
    return _plain(value, ())


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, str | bool | int | float | Tensor | np.ndarray):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, GlobalName):
        return value.full
    if id(value) in above or len(above) == _MOST_LEVELS:
        return None
    above = (*above, id(value))
    if isinstance(value, Placeholder):
        value = _content(value)
    elif isinstance(value, argparse.Namespace | types.SimpleNamespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {_key(k): _plain(v, above) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [_plain(part, above) for part in value]
    return value.full if isinstance(value, GlobalName) else value


def _key(key: Any) -> Any:
    return _plain(key, ()) if isinstance(key, np.generic | PurePath | GlobalName) else key


def _content(record: Placeholder) -> Any:
    """What of an object says most: its attributes, else the dictionary it was made from, or name.

    An enumeration's member is what it was made from, its value.
    """
    if record.attributes:
        return record.attributes
    if record.keywords:
        return record.keywords
    if len(record.arguments) == 1:
        return record.arguments[0]
    return {} if record.callee.qualname.endswith(_MAPPINGS) else record.callee
