"""The place of the tensors in a file: the entries they are inside, and their prefix."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from covtool.checkpoints.averages import (
    dotless_average,
    listed_average,
    of_callbacks,
    split_by_prefix,
    swapped_on_saving,
    with_statistics,
)
from covtool.checkpoints.container_entries import (
    RAW,
    SEPARATOR,
    Found,
    entries_of,
    entry_of,
    itself,
)
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
from covtool.printable import first_few, printable
from covtool.safetensors_header import MOST_TENSORS

# DataParallel's and torch.compile's wrappers, and what authors call a network in their own modules.
WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "network.")

_HALF = 0.5  # a wrapper holds at least this share of the tensors
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_MOST_SETS = 16  # entries of students and teachers among which one is chosen

MOST_WRAPPERS = 8
"""Prefixes, one behind the other, that are taken off names; real files have up to four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The entries of a checkpoint that hold a model's tensors.

    Attributes:
        container: Names of the entries on the way to them; None where the file is a state dict.
        entries: Names to tensors, and to whatever else is among them.
        is_ema: Whether they are an average over the training.
        others: Other entries at the top of the file.
        beside: Tensors of other entries, which may belong to the model: a classifier of its own.
        notes: Choices, in sentences.
    """

    container: str | None
    entries: Mapping[str, Any]
    is_ema: bool
    others: Mapping[str, Any]
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_content(path: Path, loaded: Any, weights: str) -> Content:
    """Return the tensors in what a file holds; with a choice, the average for ``auto``, as in timm.

    Args:
        path: Path of the file, for messages.
        loaded: Content of the file.
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
    # A name that the user gives beats every guess.
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
    """Return prefixes that wrappers may have put before the names: none first, the longest last."""
    names = list(names)
    chain = [""]
    while names and len(chain) <= MOST_WRAPPERS:
        start = len(chain[-1])
        counts = Counter(name[start : name.find(".", start) + 1] for name in names)
        prefix = max(WRAPPERS, key=lambda prefix: counts[prefix])
        # A wrapper is around all of a network; heads and losses beside it may be outside.
        if counts[prefix] < max(1, _HALF * len(names)):
            break
        chain.append(chain[-1] + prefix)
        names = [name for name in names if name.startswith(chain[-1])]
    return tuple(chain)


def _content(
    loaded: Mapping,
    found: Found,
    *,
    is_ema: bool,
    notes: tuple[str, ...] = (),
    other: Found | None = None,
) -> Content:
    top, copy = (f.name.split(SEPARATOR)[0] if f and f.name else None for f in (found, other))
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
    """Return tensors of entries that are neither training's nor another copy of the network."""
    found = {}
    for name, value in loaded.items():
        # A second copy of the network would be taken for a head or another network beside it.
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
) -> tuple[Found | None, Found | None]:
    ema = next(entries_of(loaded, (name for name in loaded if is_averaged(str(name)))), None)
    # From the surest to the least sure: an entry of a usual name beats a state dict at the top.
    raw = (
        next(entries_of(loaded, RAW), None)
        or _of_roles(path, loaded)
        or itself(loaded)
        or _unnamed(loaded)
    )
    # mmengine exchanges both before saving: what is called raw is the average.
    if raw is not None and ema is not None and swapped_on_saving(loaded, ema):
        return raw, ema
    if raw is not None and ema is None and isinstance(loaded.get("current_model_state"), Mapping):
        # Lightning's WeightAveraging saves the average in the usual place.
        return raw, entry_of(loaded, "current_model_state")
    # AveragedModel counts its updates among the tensors: this is the average and nothing else.
    if raw is not None and ema is None and _COUNTER in raw.entries:
        return raw, None
    if raw is not None and ema is None:
        ema = of_callbacks(loaded) or listed_average(loaded, raw) or dotless_average(raw)
    if raw is not None and ema is not None:
        # Averages of parameters alone lack batch norm's statistics, which are those of the raw
        # model.
        return with_statistics(ema, raw), raw
    return split_by_prefix(ema, raw)


def _of_roles(path: Path, loaded: Mapping) -> Found | None:
    """Return the student or the teacher of a file that has entries of such names."""
    named = (name for name in loaded if role(str(name)))
    found = {found.name: found for found in entries_of(loaded, named)}
    if not found:
        return None
    if len(found) > _MOST_SETS:
        raise several_sets(path, found)
    shown = all(distills_itself(map(str, f.entries)) for f in found.values())
    choice = choose(list(found), self_distilled=shown)
    if choice is None:
        raise several_sets(path, list(found))
    taken = found[choice.name]
    return Found(taken.name, taken.entries, (choice.note,) if choice.note else ())


def several_sets(path: Path, names: Iterable[str]) -> CheckpointError:
    """Return the error for a file of several networks, none of which is named."""
    names = [printable(name.rstrip(".")) or "(no prefix)" for name in names]
    return CheckpointError(
        f"{path} holds several sets of weights: {first_few(names, _MOST_SETS)}.",
        reason="Nothing in the file says which of them is meant.",
        hint=f"Say it: --weights {names[0].split(SEPARATOR)[0]}.",
    )


def _named(path: Path, loaded: Mapping, asked: str) -> Content:
    """Return the entry of a name, or the tensors whose names have it in them."""
    for name in loaded:
        if matching(str(name), asked) and (found := entry_of(loaded, name)):
            return _content(loaded, found, is_ema=is_averaged(str(name)))
    whole = itself(loaded)
    for found in (*entries_of(loaded, loaded), *([whole] if whole else [])):
        prefix = _prefix_of(found.entries, asked)
        if prefix is not None:
            kept = {k: v for k, v in found.entries.items() if str(k).startswith(prefix)}
            return _content(loaded, Found(found.name, kept), is_ema=is_averaged(asked))
    raise ArgumentError(
        f"There are no weights called {asked!r} in {path}.",
        reason=f"Its entries are {_listed(loaded)}.",
        hint=f"Choose {', '.join(ANY)}, or the name of an entry.",
    )


def _prefix_of(entries: Mapping[str, Any], asked: str) -> str | None:
    """Return what stands before the names of the tensors that `asked` is a part of, and `asked`."""
    for name, value in entries.items():
        parts = components(str(name))[:-1]
        if isinstance(value, Tensor) and asked in parts:
            return ".".join(parts[: parts.index(asked) + 1]) + "."
    return None


def _average_note(taken: Found, other: Found | None) -> str:
    own = printable(taken.name) or "the file"
    others = printable(other.name) or "the other tensors" if other else ""
    instead = f"; --weights raw takes {others}" if other else ""
    return f"The averaged (EMA) weights in {own} are used{instead}."


def _unnamed(loaded: Mapping) -> Found | None:
    """Return entries of other names: the only one with tensors, or all, as parts of one network."""
    named = [name for name in loaded if isinstance(name, str) and not is_averaged(name)]
    found = list(entries_of(loaded, named))
    if len(found) < 2:
        return found[0] if found else None
    # As when encoder and head are saved as two entries of one file.
    each = ((f"{f.name}.{name}", value) for f in found for name, value in f.entries.items())
    return Found("", dict(islice(each, MOST_TENSORS + 1)))  # more are refused


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
