"""The fit of a run's state to the run: its model, its optimizer, its scaler."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from covtool.printable import printable
from covtool.training.parts.assembly import Parts
from covtool.training.parts.optimizer import build_optimizer
from covtool.training.run.state_content import (
    ContentError,
    described,
    is_number,
    require_keys,
    require_tensors,
)


def require_fit(parts: Parts, payload: Mapping[str, Any]) -> None:
    """Refuse the state of another model or optimizer, before any of it is loaded.

    Args:
        parts: Parts that were freshly assembled, or of a run that is under way.
        payload: The state, whose progress and generators were checked.

    Raises:
        ContentError: Something in it is not what the parts take.
    """
    require_tensors("model", payload["model"], parts.model.state_dict())
    if (payload["model_ema"] is None) != (parts.ema is None):
        raise ContentError("model_ema", "Only one of the run and the state has an average.")
    if parts.ema is not None:
        require_tensors("model_ema", payload["model_ema"], parts.ema.module.state_dict())
    _require_data(payload["data"], parts.fingerprints)
    _require_scaler(payload["scaler"], parts.scaler.state_dict())
    _require_optimizer(parts, payload["optimizer"])


def _require_data(found: Any, expected: Mapping[str, str]) -> None:
    require_keys("data", found, tuple(expected))
    for split, fingerprint in found.items():
        if split not in expected or not isinstance(fingerprint, str):
            raise ContentError(f"data.{split}", "It is not a fingerprint of images.")


def _require_scaler(found: Any, expected: Mapping[str, Any]) -> None:
    require_keys("scaler", found, tuple(expected))
    for name in expected:
        if not is_number(found[name]) or (name == "scale" and found[name] <= 0):
            raise ContentError(f"scaler.{name}", "It is not a possible value.")


def _require_optimizer(parts: Parts, found: Any) -> None:
    require_keys("optimizer", found, ("state", "param_groups"))
    own = parts.optimizer.state_dict()["param_groups"]
    groups = found["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own):
        raise ContentError("optimizer.param_groups", f"They are not {len(own):,} groups.")
    for number, (group, expected) in enumerate(zip(groups, own, strict=True)):
        _require_group(f"optimizer.param_groups.{number}", group, expected)
    _require_moments(parts, found["state"])


def _require_group(key: str, group: Any, expected: Mapping[str, Any]) -> None:
    require_keys(key, group, ("params", "lr"))
    numbers = group["params"]
    # Not `isinstance`: False == 0 and 0.0 == 0 would pass the comparison, too.
    whole = isinstance(numbers, list) and all(type(number) is int for number in numbers)
    if not whole or numbers != expected["params"]:
        raise ContentError(f"{key}.params", "They are not the parameters that are trained.")
    for name, value in expected.items():
        if name != "params" and name in group and not _is_like(group[name], value):
            raise ContentError(f"{key}.{name}", f"It is {_shown(group[name])}, not {value!r}.")


def _is_like(found: Any, expected: Any) -> bool:
    """Return whether a setting could have come of another value of the same kind."""
    if isinstance(expected, bool):  # before numbers: True is an int
        return isinstance(found, bool | None)
    if isinstance(expected, int | float):
        return is_number(found) or not is_number(expected)
    if isinstance(expected, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(expected)
            and all(map(_is_like, found, expected))
        )
    return isinstance(found, type(expected)) or expected is None


def _require_moments(parts: Parts, found: Any) -> None:
    """Refuse moments that are unlike those that the optimizer gathers for such parameters."""
    require_keys("optimizer.state", found, ())
    parameters = [(p, group) for group in parts.optimizer.param_groups for p in group["params"]]
    # torch loads moments of any shape, and fails, or broadcasts them, in the middle of a step.
    known: dict[tuple, dict[str, Any]] = {}  # a step for each kind, not for each parameter
    for number, moments in found.items():
        key = f"optimizer.state.{number}"
        if not isinstance(number, int) or not 0 <= number < len(parameters):
            raise ContentError(key, "There is no such parameter.")
        parameter, group = parameters[number]
        kind = (id(group), parameter.shape, parameter.dtype)
        if kind not in known:
            known[kind] = _gathered(parts, parameter, group)
        require_keys(key, moments, ())
        if moments:
            _require_like_moments(key, moments, known[kind])


def _gathered(parts: Parts, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the moments of an optimizer after a step for one parameter; none where it fails."""
    stand_in = torch.zeros_like(parameter, device="cpu").requires_grad_()
    stand_in.grad = torch.ones_like(stand_in)
    # An optimizer may draw random numbers; one that cannot step on a CPU is not compared.
    with suppress(Exception), torch.random.fork_rng(devices=[]):
        optimizer = build_optimizer([{**group, "params": [stand_in]}], parts.training)
        optimizer.step()
        return optimizer.state_dict()["state"].get(0, {})
    return {}


def _require_like_moments(key: str, moments: Any, expected: Mapping[str, Any]) -> None:
    require_keys(key, moments, tuple(expected))
    for name, own in expected.items():
        value = moments[name]
        if isinstance(own, Tensor):
            fits = isinstance(value, Tensor) and value.shape == own.shape
            fits = fits and value.is_floating_point() == own.is_floating_point()
            if not fits:
                raise ContentError(f"{key}.{name}", f"It is {_shown(value)}, not {described(own)}.")
        elif is_number(own) and not is_number(value):
            raise ContentError(f"{key}.{name}", f"It is {_shown(value)}, not a number.")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return described(value)
    simple = isinstance(value, str | int | float | bool | None)
    return printable(repr(value), longest=60) if simple else f"a {type(value).__name__}"
