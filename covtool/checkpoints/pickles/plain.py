"""Records and settings as nothing but dictionaries, lists, texts and numbers."""

import argparse
import types
from collections import deque
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from covtool.checkpoints.pickles.records import GlobalName, Placeholder

_MOST_LEVELS = 64
_LARGEST_LIST = 10_000  # numbers of an array
_CONTAINERS = (
    *(Placeholder, argparse.Namespace, types.SimpleNamespace, Mapping),
    *(list, tuple, deque),
)
_LEAVES = (np.generic, np.ndarray, GlobalName, PurePath)
_MAPPINGS = ("Dict", "Namespace", "Config", "CfgNode", "Params", "Args", "Arguments")


def plain(value: Any) -> Any:
    """Return a value of a checkpoint without classes: mappings of any class become dictionaries.

    Namespaces, settings of every library and objects with attributes become dictionaries by name,
    sequences and small arrays lists, NumPy's numbers Python's, paths and classes text. Tensors,
    large arrays and sets stay. What holds itself, or is nested too deeply, ends in None.

    Example:
        >>> from argparse import Namespace
        >>> plain(Namespace(lr=0.1, path=PurePath("a", "b"), sizes=(1, 2)))
        {'lr': 0.1, 'path': 'a/b', 'sizes': [1, 2]}
    """
    return _Plain()(value, 0)


class _Plain:
    """Values without classes; what is shared is made once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any, level: int) -> Any:
        if not isinstance(value, (*_CONTAINERS, *_LEAVES)):
            return value
        if level == _MOST_LEVELS and isinstance(value, _CONTAINERS):
            return None
        if id(value) not in self._made:
            self._made[id(value)] = value, None  # of what holds itself
            contains = isinstance(value, _CONTAINERS)
            made = self._container(value, level + 1) if contains else _leaf(value)
            self._made[id(value)] = value, made
        return self._made[id(value)][1]

    def _container(self, value: Any, level: int) -> Any:
        if isinstance(value, Placeholder):
            content = _content(value)
            return self(content, level)
        if isinstance(value, argparse.Namespace | types.SimpleNamespace):
            value = vars(value)
        if isinstance(value, Mapping):
            return {self._key(k): self(v, level) for k, v in value.items()}
        return [self(part, level) for part in value]

    # Tuples stay tuples here: a list cannot be a key.
    def _key(self, key: Any) -> Any:
        return self(key, 0) if isinstance(key, np.generic | PurePath | GlobalName) else key


def _leaf(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, GlobalName):
        return value.full
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= _LARGEST_LIST else value
    return str(value)


def _content(record: Placeholder) -> Any:
    """Return what describes an object best: attributes, else constructor arguments, else class.

    An enumeration's member is what it was made from, its value.
    """
    if record.attributes:
        return record.attributes
    if record.keywords:
        return record.keywords
    if len(record.arguments) == 1:
        return record.arguments[0]
    return {} if record.callee.qualname.endswith(_MAPPINGS) else record.callee
