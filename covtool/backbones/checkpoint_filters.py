"""timm's own conversions of other authors' checkpoints, each in the module of its networks."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.models import is_model, model_entrypoint
from torch import Tensor, nn

# timm has no registry of them: every module uses one of these names, or none.
_NAMES = ("checkpoint_filter_fn", "_filter_fn")
# Nextvit's goes by the order of the tensors, which a file may have lost.
_NOT_USED = frozenset({"nextvit"})
# Candidates of one checkpoint are tried in turn, often with the same few architectures.
_KEPT_MODELS = 8


def filter_module(name: str) -> str | None:
    """Return the module of timm that converts files of an architecture; None without one."""
    if not is_model(name):
        return None
    module = model_entrypoint(name).__module__
    short = module.rpartition(".")[2]
    return short if short not in _NOT_USED and _function(module) is not None else None


def filtered_checkpoint(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return a checkpoint as timm converts it for an architecture.

    Args:
        name: Name of timm's architecture.
        tensors: Tensors of the checkpoint. Left as they are.

    Returns:
        The tensors under timm's names; None where timm has no conversion, or it fails on these.
    """
    if filter_module(name) is None:
        return None
    convert = _function(model_entrypoint(name).__module__)
    with contextlib.suppress(Exception), _silence():  # written for its own files: anything may fail
        found = _converted(convert, dict(tensors), _unloaded(name))
        if isinstance(found, Mapping) and all(isinstance(t, Tensor) for t in found.values()):
            return dict(found)
    return None


def _converted(convert: Callable, tensors: dict[str, Tensor], model: nn.Module) -> Any:
    try:
        return convert(tensors, model)
    except TypeError:  # some take the tensors alone
        return convert(tensors)


def _function(module: str) -> Callable | None:
    found = sys.modules[module]
    return next((vars(found)[name] for name in _NAMES if name in vars(found)), None)


@lru_cache(maxsize=_KEPT_MODELS)
def _unloaded(name: str) -> nn.Module:
    """Return the model without memory for its weights, where it can be built so."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError):
        return timm.create_model(name, pretrained=False)


@contextlib.contextmanager
def _silence():
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
