"""Where in a file the tensors are: inside which entries, and behind which prefix."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from covtool.checkpoints.pickles import UnusableTensor
from covtool.checkpoints.weight_sets import (
    ANY,
    choose,
    components,
    distills_itself,
    is_averaged,
    is_of_training,
    matching,
    role,
)
from covtool.errors import ArgumentError, CheckpointError
from covtool.printable import printable

RAW = (
    "state_dict",
    "model",
    "model_state_dict",
    "network",
    "net",
    "module",
    "model_state",
    "weights",
    "params",
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "network.")
EMA_PREFIXES = ("model_ema.", "ema_model.", "ema.")

_HALF = 0.5  # a wrapper holds at least this share of the tensors
_EMA_SHARE = 0.4  # of a file with two copies of a model and something beside them
_SEPARATOR = " > "
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_DEPTH = 4  # entries inside one another


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The entries of a checkpoint that hold a model's tensors.

    Attributes:
        container: Names of the entries on the way to them; None where the file is a state dict.
        entries: Names to tensors, and to whatever else is among them.
        is_ema: Whether they are an average over the training.
        others: What else the file holds at its top.
        beside: Tensors of other entries, which may belong to the model: a classifier of its own.
        notes: What was chosen, in sentences.
    """

    container: str | None
    entries: Mapping[str, Any]
    is_ema: bool
    others: Mapping[str, Any]
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_content(path: Path, loaded: Any, weights: str) -> Content:
    """The tensors in what a file holds; with a choice, the average for ``auto``, as in timm.

    Args:
        path: Of the file, for messages.
        loaded: What it holds.
        weights: ``auto``, ``ema``, ``raw``, or the name of an entry or of a part of the tensors'
            names: ``student``, ``encoder_k``.

    Raises:
        ArgumentError: Nothing in the file is called `weights`.
        CheckpointError: There are no tensors, not those asked for, or a choice that only the user
            can make.
    """
    if not isinstance(loaded, Mapping):
        what = getattr(loaded, "kind", f"a {type(loaded).__name__}")
        raise _no_tensors(path, f"It holds {printable(what)}, not named tensors.")
    if weights not in ANY:
        return _named(path, loaded, weights)
    ema, raw = _averaged_and_raw(path, loaded, weights)
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
    notes = (_average_note(wanted, other),) if wanted is ema else ()
    notes = (*notes, *wanted.notes)
    return _content(loaded, wanted, is_ema=wanted is ema, notes=notes, other=other)


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


@dataclass(frozen=True, slots=True)
class _Found:
    """Entries with tensors in them, the way to them, and what was chosen on it."""

    name: str
    entries: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def _content(
    loaded: Mapping,
    found: _Found,
    *,
    is_ema: bool,
    notes: tuple[str, ...] = (),
    other: _Found | None = None,
) -> Content:
    top, copy = (f.name.split(_SEPARATOR)[0] if f and f.name else None for f in (found, other))
    inside = top in loaded
    return Content(
        container=found.name or None,
        entries=found.entries,
        is_ema=is_ema,
        others={str(k): v for k, v in loaded.items() if k != top} if inside else {},
        beside=_beside(loaded, {top, copy}) if inside else {},
        notes=notes,
    )


def _beside(loaded: Mapping, copies: set[str | None]) -> dict[str, Tensor]:
    """Tensors of entries that are neither training's nor another copy of the network."""
    found = {}
    for name, value in loaded.items():
        other_copy = name in RAW or is_averaged(str(name)) or role(str(name))
        if name in copies or other_copy or is_of_training(str(name)):
            continue
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, Mapping):
            found |= {f"{name}.{k}": t for k, t in value.items() if isinstance(t, Tensor)}
    return found


def _averaged_and_raw(
    path: Path, loaded: Mapping, weights: str
) -> tuple[_Found | None, _Found | None]:
    averaged = [f for name in loaded if is_averaged(str(name)) and (f := _entry(loaded, name))]
    ema = averaged[0] if averaged else None
    raw = _first(loaded, RAW) or _of_roles(path, loaded) or _bare(loaded) or _unnamed(loaded)
    if raw is not None and ema is not None and _swapped_on_saving(loaded, ema):
        return raw, ema
    if raw is not None and ema is None and isinstance(loaded.get("current_model_state"), Mapping):
        # Lightning's WeightAveraging saves the average in the usual place.
        return raw, _entry(loaded, "current_model_state")
    if raw is not None and ema is None and _COUNTER in raw.entries:
        return raw, None
    if raw is not None and ema is None:
        ema = _of_callbacks(loaded) or _listed_average(loaded, raw) or _dotless_average(raw)
    if raw is not None and ema is not None:
        return _whole(ema, raw), raw
    return _split_by_prefix(ema, raw)


def _of_callbacks(loaded: Mapping) -> _Found | None:
    """The average that a callback of Lightning keeps in its own state."""
    callbacks = loaded.get("callbacks")
    for callback, state in (callbacks if isinstance(callbacks, Mapping) else {}).items():
        for name in state if isinstance(state, Mapping) else ():
            found = _entry(state, name) if is_averaged(str(name)) else None
            if found is not None:
                way = _SEPARATOR.join(("callbacks", str(callback), found.name))
                return _Found(way, found.entries, found.notes)
    return None


def _dotless_average(raw: _Found) -> _Found | None:
    """The average that LitEma (latent diffusion) keeps, whose names have lost their dots."""
    for prefix in EMA_PREFIXES:
        averaged = [name for name in raw.entries if str(name).startswith(prefix)]
        network = {n: t for n, t in raw.entries.items() if n not in averaged}
        for outer in ("", "model."):
            dotless = {n: prefix + str(n).removeprefix(outer).replace(".", "") for n in network}
            own = {n: raw.entries[d] for n, d in dotless.items() if d in averaged}
            parameters = [n for n in network if str(n).startswith(outer) and _is_parameter(n)]
            if own and own.keys() >= set(parameters):
                way = _SEPARATOR.join(filter(None, (raw.name, f"{prefix}*")))
                return _Found(way, {**network, **own})
    return None


def _listed_average(loaded: Mapping, raw: _Found) -> _Found | None:
    """The average that torch_ema keeps: a list of the parameters in their order, without names."""
    lists = (
        (str(name), value["shadow_params"])
        for name, value in loaded.items()
        if isinstance(value, Mapping) and isinstance(value.get("shadow_params"), list)
    )
    name, averages = next(lists, ("", []))
    own = [n for n, t in raw.entries.items() if isinstance(t, Tensor) and _is_parameter(n)]
    shapes = [getattr(average, "shape", None) for average in averages]
    if not averages or shapes != [raw.entries[n].shape for n in own]:
        return None
    return _Found(f"{name}{_SEPARATOR}shadow_params", dict(zip(own, averages, strict=True)))


def _whole(ema: _Found, raw: _Found) -> _Found:
    """An average of the parameters alone, with the buffers of the raw weights."""
    missing = {n: t for n, t in raw.entries.items() if n not in ema.entries}
    others = [n for n in missing if _is_parameter(n) and isinstance(missing[n], Tensor)]
    if not missing or others or not ema.entries.keys() <= raw.entries.keys():
        return ema
    entries = {name: ema.entries.get(name, value) for name, value in raw.entries.items()}
    note = f"The average has no statistics of norms: those of {raw.name or 'the file'} are used."
    return _Found(ema.name, entries, (*ema.notes, note))


def _is_parameter(name: Any) -> bool:
    return str(name).rpartition(".")[2] not in _BUFFERS


def _swapped_on_saving(loaded: Mapping, ema: _Found) -> bool:
    """Whether mmengine's EMAHook wrote the file: it exchanges average and raw weights on saving."""
    names = [str(name) for name in ema.entries if name != "steps"]
    told = "steps" in ema.entries and all(name.startswith("module.") for name in names)
    return told and ("meta" in loaded or "message_hub" in loaded)


def _of_roles(path: Path, loaded: Mapping) -> _Found | None:
    """The student or the teacher of a file that has entries of such names."""
    found = {f.name: f for name in loaded if role(str(name)) and (f := _entry(loaded, name))}
    if not found:
        return None
    shown = all(distills_itself(map(str, f.entries)) for f in found.values())
    choice = choose(list(found), self_distilled=shown)
    if choice is None:
        raise several_sets(path, list(found))
    taken = found[choice.name]
    return _Found(taken.name, taken.entries, (choice.note,) if choice.note else ())


def several_sets(path: Path, names: Iterable[str]) -> CheckpointError:
    """A file holds several networks, and nothing says which is meant."""
    names = [name.rstrip(".") or "(no prefix)" for name in names]
    return CheckpointError(
        f"{path} holds several sets of weights: {', '.join(names)}.",
        reason="Nothing in the file says which of them is meant.",
        hint=f"Say it: --weights {names[0].split(_SEPARATOR)[0]}.",
    )


def _named(path: Path, loaded: Mapping, asked: str) -> Content:
    """The entry of a name, or the tensors whose names have it in them."""
    for name in loaded:
        if matching(str(name), asked) and (found := _entry(loaded, name)):
            return _content(loaded, found, is_ema=is_averaged(str(name)))
    for found in filter(None, (*(_entry(loaded, n) for n in loaded), _bare(loaded))):
        prefix = _prefix_of(found.entries, asked)
        if prefix is not None:
            kept = {k: v for k, v in found.entries.items() if str(k).startswith(prefix)}
            return _content(loaded, _Found(found.name, kept), is_ema=is_averaged(asked))
    raise ArgumentError(
        f"There are no weights called {asked!r} in {path}.",
        reason=f"Its entries are {_listed(loaded)}.",
        hint=f"Choose {', '.join(ANY)}, or the name of an entry.",
    )


def _prefix_of(entries: Mapping[str, Any], asked: str) -> str | None:
    """What stands before the names of the tensors that `asked` is a part of, and `asked`."""
    for name, value in entries.items():
        parts = components(str(name))[:-1]
        if isinstance(value, Tensor) and asked in parts:
            return ".".join(parts[: parts.index(asked) + 1]) + "."
    return None


def _average_note(taken: _Found, other: _Found | None) -> str:
    instead = f"; --weights raw takes {other.name or 'the other tensors'}" if other else ""
    return f"The averaged (EMA) weights in {taken.name or 'the file'} are used{instead}."


def _first(loaded: Mapping, names: Iterable[str]) -> _Found | None:
    return next((found for name in names if (found := _entry(loaded, name))), None)


def _entry(loaded: Mapping, name: Any, depth: int = _DEPTH) -> _Found | None:
    """The tensors below an entry: it is a state dict, or has one in it."""
    value = loaded.get(name)
    if not isinstance(value, Mapping) or not depth or is_of_training(str(name)):
        return None
    averaged = [inner for inner in value if is_averaged(str(inner))]
    for inner in (*RAW, *averaged):
        inside = _entry(value, inner, depth - 1)
        if inside is not None:
            return _Found(f"{name}{_SEPARATOR}{inside.name}", inside.entries, inside.notes)
    return _Found(str(name), value) if _has_tensors(value) else None


def _bare(loaded: Mapping) -> _Found | None:
    return _Found("", loaded) if _has_tensors(loaded) else None


def _unnamed(loaded: Mapping) -> _Found | None:
    """Entries of other names: the only one with tensors, or all, as parts of one network."""
    named = [name for name in loaded if isinstance(name, str) and not is_averaged(name)]
    found = [entry for name in named if (entry := _entry(loaded, name))]
    if len(found) < 2:
        return found[0] if found else None
    return _Found("", {f"{f.name}.{k}": v for f in found for k, v in f.entries.items()})


def _split_by_prefix(ema: _Found | None, raw: _Found | None) -> tuple[_Found | None, _Found | None]:
    """Part a state dict that holds two copies of a model, one of them the average."""
    if ema is not None or raw is None:
        return ema, raw
    for prefix in EMA_PREFIXES:
        averaged = {k: v for k, v in raw.entries.items() if str(k).startswith(prefix)}
        if len(averaged) >= max(1, _EMA_SHARE * len(raw.entries)):
            others = {k: v for k, v in raw.entries.items() if k not in averaged}
            path = _SEPARATOR.join(filter(None, (raw.name, f"{prefix}*")))
            stripped = {k.removeprefix(prefix): v for k, v in averaged.items()}
            rest = _Found(raw.name, others, raw.notes) if _has_tensors(others) else None
            return _Found(path, stripped, raw.notes), rest
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
