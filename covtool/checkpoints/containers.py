"""Where in a file the tensors are: inside which entries, and behind which prefix."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from covtool.checkpoints.pickles import UnusableTensor
from covtool.checkpoints.printable import printable
from covtool.errors import ArgumentError, CheckpointError

WEIGHTS = ("auto", "ema", "raw")
RAW = (
    "state_dict",
    "model",
    "model_state_dict",
    "network",
    "teacher",
    "net",
    "module",
    "model_state",
    "weights",
    "params",
    "student",
)
EMA = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "params_ema",
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "network.")
EMA_PREFIXES = ("model_ema.", "ema_model.", "ema.")

_HALF = 0.5  # a wrapper holds at least this share of the tensors
_EMA_SHARE = 0.4  # of a file with two copies of a model and something beside them
_SEPARATOR = " > "


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The entries of a checkpoint that hold a model's tensors.

    Attributes:
        container: Names of the entries on the way to them; None where the file is a state dict.
        entries: Names to tensors, and to whatever else is among them.
        is_ema: Whether they are an exponential moving average.
        others: What else the file holds at its top.
        alternative: The entry that ``--weights`` could have taken instead.
    """

    container: str | None
    entries: Mapping[str, Any]
    is_ema: bool
    others: Mapping[str, Any]
    alternative: str | None = None


def find_content(path: Path, loaded: Any, weights: str) -> Content:
    """The tensors in what a file holds; with a choice, the moving average for ``auto``, as in timm.

    Raises:
        ArgumentError: `weights` is none of `WEIGHTS`.
        CheckpointError: There are no tensors, or not those asked for.
    """
    if weights not in WEIGHTS:
        raise ArgumentError(
            f"There are no weights called {weights!r}.", hint=f"Choose {', '.join(WEIGHTS)}."
        )
    if not isinstance(loaded, Mapping):
        what = getattr(loaded, "kind", f"a {type(loaded).__name__}")
        raise _no_tensors(path, f"It holds {printable(what)}, not named tensors.")
    ema, raw = _first(loaded, EMA), _first(loaded, RAW) or _bare(loaded) or _unnamed(loaded)
    ema, raw = _split_by_prefix(ema, raw)
    if ema is None and raw is None:
        raise _no_tensors(path, f"Its entries are {_listed(loaded) or 'none at all'}.")
    wanted = {"auto": ema or raw, "ema": ema, "raw": raw}[weights]
    if wanted is None:
        raise CheckpointError(
            f"{path} has no {'averaged (EMA)' if weights == 'ema' else 'raw'} weights.",
            reason=f"Its entries are {_listed(loaded)}.",
            hint="Use --weights auto to take what is there.",
        )
    other = raw if wanted is ema else ema
    top = wanted[0].split(_SEPARATOR)[0] if wanted[0] else None
    return Content(
        container=wanted[0] or None,
        entries=wanted[1],
        is_ema=wanted is ema,
        others={str(k): v for k, v in loaded.items() if k != top} if top in loaded else {},
        alternative=None if other is None else other[0] or "the other tensors",
    )


def prefix_chain(names: Iterable[str]) -> tuple[str, ...]:
    """Prefixes that wrappers may have put before the names: none first, the longest last."""
    names = list(names)
    chain = [""]
    while names:
        below = {p: [n for n in names if n.startswith(chain[-1] + p)] for p in PREFIXES}
        prefix, inside = max(below.items(), key=lambda item: len(item[1]))
        if len(inside) < max(1, _HALF * len(names)):
            break
        chain.append(chain[-1] + prefix)
        names = inside
    return tuple(chain)


_Found = tuple[str, Mapping[str, Any]]


def _first(loaded: Mapping, names: Iterable[str]) -> _Found | None:
    return next((found for name in names if (found := _entry(loaded, name))), None)


def _entry(loaded: Mapping, name: str) -> _Found | None:
    """The tensors below an entry: it is a state dict, or has one in it."""
    value = loaded.get(name)
    if not isinstance(value, Mapping):
        return None
    inside = _first(value, (*RAW, *EMA))
    if inside is not None:
        return f"{name}{_SEPARATOR}{inside[0]}", inside[1]
    return (name, value) if _has_tensors(value) else None


def _bare(loaded: Mapping) -> _Found | None:
    return ("", loaded) if _has_tensors(loaded) else None


def _unnamed(loaded: Mapping) -> _Found | None:
    """An entry of a name nobody has heard of, if it is the only one with named tensors."""
    found = [
        entry
        for name in loaded
        if isinstance(name, str)
        and name not in EMA
        and "optim" not in name
        and (entry := _entry(loaded, name))
    ]
    return found[0] if len(found) == 1 else None


def _split_by_prefix(ema: _Found | None, raw: _Found | None) -> tuple[_Found | None, _Found | None]:
    """Part a state dict that holds two copies of a model, one of them the average."""
    if ema is not None or raw is None:
        return ema, raw
    name, entries = raw
    for prefix in EMA_PREFIXES:
        averaged = {k: v for k, v in entries.items() if str(k).startswith(prefix)}
        if len(averaged) >= max(1, _EMA_SHARE * len(entries)):
            others = {k: v for k, v in entries.items() if k not in averaged}
            path = _SEPARATOR.join(filter(None, (name, f"{prefix}*")))
            stripped = {k.removeprefix(prefix): v for k, v in averaged.items()}
            return (path, stripped), ((name, others) if _has_tensors(others) else None)
    return ema, raw


def _has_tensors(entries: Mapping) -> bool:
    return any(isinstance(value, Tensor | UnusableTensor) for value in entries.values())


def _listed(entries: Mapping) -> str:
    names: Iterator[str] = (printable(str(name)) for name in entries)
    shown = [name for name, _ in zip(names, range(8), strict=False)]
    return ", ".join(shown) + (", ..." if len(entries) > len(shown) else "")


def _no_tensors(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} has no tensors of a model in it.",
        reason=reason,
        hint="Give the file with the weights; an optimizer's or a scaler's state is not enough.",
    )
