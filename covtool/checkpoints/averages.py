"""Averages of weights over the training, wherever programs keep them beside the raw ones."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from covtool.checkpoints.container_entries import SEPARATOR, Found, entries_of, has_tensors
from covtool.checkpoints.weight_sets import is_averaged
from covtool.printable import printable

# They mark the average's copy where one state dict holds both; wrappers are around all of it.
EMA_PREFIXES = ("model_ema.", "ema_model.", "ema.")

_EMA_SHARE = 0.4  # of a file with two copies of a model and something beside them
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def of_callbacks(loaded: Mapping) -> Found | None:
    """Return the average that a callback of Lightning keeps in its own state."""
    callbacks = loaded.get("callbacks")
    for callback, state in (callbacks if isinstance(callbacks, Mapping) else {}).items():
        averaged = (n for n in state if is_averaged(str(n))) if isinstance(state, Mapping) else ()
        for found in entries_of(state, averaged):
            way = SEPARATOR.join(("callbacks", str(callback), found.name))
            return Found(way, found.entries, found.notes)
    return None


def dotless_average(raw: Found) -> Found | None:
    """Return the average that LitEma (latent diffusion) keeps, whose names have lost their dots."""
    for prefix in EMA_PREFIXES:
        averaged = {name for name in raw.entries if str(name).startswith(prefix)}
        network = {n: t for n, t in raw.entries.items() if n not in averaged}
        for outer in ("", "model."):
            if not averaged:
                break
            # LitEma registers buffers, whose names must have no dots.
            dotless = {n: prefix + str(n).removeprefix(outer).replace(".", "") for n in network}
            own = {n: raw.entries[d] for n, d in dotless.items() if d in averaged}
            parameters = [n for n in network if str(n).startswith(outer) and _is_parameter(n)]
            if own and own.keys() >= set(parameters):
                way = SEPARATOR.join(filter(None, (raw.name, f"{prefix}*")))
                return Found(way, {**network, **own})
    return None


def listed_average(loaded: Mapping, raw: Found) -> Found | None:
    """Return torch_ema's average, which it keeps as a list of parameters without names."""
    lists = (
        (str(name), value["shadow_params"])
        for name, value in loaded.items()
        if isinstance(value, Mapping) and isinstance(value.get("shadow_params"), list)
    )
    name, averages = next(lists, ("", []))
    own = [n for n, t in raw.entries.items() if isinstance(t, Tensor) and _is_parameter(n)]
    shapes = [getattr(average, "shape", None) for average in averages]
    # Without names only the order and the shapes say which average is which parameter's.
    if not averages or shapes != [raw.entries[n].shape for n in own]:
        return None
    return Found(f"{name}{SEPARATOR}shadow_params", dict(zip(own, averages, strict=True)))


def with_statistics(ema: Found, raw: Found) -> Found:
    """Return an average of the parameters alone, with the buffers of the raw weights."""
    missing = {n: t for n, t in raw.entries.items() if n not in ema.entries}
    others = [n for n in missing if _is_parameter(n) and isinstance(missing[n], Tensor)]
    # A missing parameter is not a buffer: then the average is of another network.
    if not missing or others or not ema.entries.keys() <= raw.entries.keys():
        return ema
    entries = {name: ema.entries.get(name, value) for name, value in raw.entries.items()}
    whose = printable(raw.name) or "the file"
    note = f"The average has no statistics of norms: those of {whose} are used."
    return Found(ema.name, entries, (*ema.notes, note))


def _is_parameter(name: Any) -> bool:
    return str(name).rpartition(".")[2] not in _BUFFERS


def swapped_on_saving(loaded: Mapping, ema: Found) -> bool:
    """Return whether mmengine's EMAHook wrote the file: it exchanges average and raw weights."""
    names = [str(name) for name in ema.entries if name != "steps"]
    # Its averaged model counts steps among the tensors, and wraps the network as `module`.
    is_averaged_model = "steps" in ema.entries and all(n.startswith("module.") for n in names)
    return is_averaged_model and ("meta" in loaded or "message_hub" in loaded)


def split_by_prefix(ema: Found | None, raw: Found | None) -> tuple[Found | None, Found | None]:
    """Part a state dict that holds two copies of a model, one of them the average."""
    if ema is not None or raw is None:
        return ema, raw
    for prefix in EMA_PREFIXES:
        averaged = {k: v for k, v in raw.entries.items() if str(k).startswith(prefix)}
        # A few tensors under `ema.` may be anything; two whole copies are half of the file each.
        if len(averaged) >= max(1, _EMA_SHARE * len(raw.entries)):
            others = {k: v for k, v in raw.entries.items() if k not in averaged}
            path = SEPARATOR.join(filter(None, (raw.name, f"{prefix}*")))
            stripped = {str(k).removeprefix(prefix): v for k, v in averaged.items()}
            rest = Found(raw.name, others, raw.notes) if has_tensors(others) else None
            return Found(path, stripped, raw.notes), rest
    return ema, raw
