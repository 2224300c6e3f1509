"""The content of a run's state, checked by itself before anything is made of it."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from covtool.printable import printable
from covtool.run_files.logs import LARGEST_COUNT
from covtool.specs.problems import key_and_reason
from covtool.training.run.random_state import require_generators

Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ContentError(ValueError):
    """Something in a file of covtool's own is not what it should be.

    Args:
        key: Place in the file, with points between the names.
        problem: Sentence that says what is wrong.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{printable(key)}: {printable(problem)}")


class Progress(BaseModel):
    """The saved progress of a run; see `covtool.training.run.state.RunState`.

    What has a default here was not saved by the first versions.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    epoch: Count
    step: Count
    updates: Count
    loss_sum: float
    images: Count
    values: list[Finite | None]
    seconds: Finite
    unsaved: list[Count]
    chance: list[bool] = []
    correlations: list[Finite] = []
    entered: Count = 0
    nonfinite: Count = 0
    replaced: Count = 0
    world: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 1
    schedule_offset: Annotated[int, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT, alias="lead")] = 0
    micro_batch: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None


def progress_of(payload: Any, version: int) -> dict[str, Any]:
    """Read the progress of a state, as the fields of a `RunState`.

    Raises:
        ContentError: The state has no such entry, or one that cannot be.
    """
    require_keys("The state", payload, ("version", "progress", "data", "model", "model_ema"))
    require_keys("The state", payload, ("optimizer", "scaler", "generators"))
    require_keys("The state", payload, ("gradient_centralization",))
    if not isinstance(payload["version"], int) or payload["version"] != version:
        raise ContentError("version", "The state was written by another version of covtool.")
    require_keys("progress", payload["progress"], ())
    try:
        progress = Progress.model_validate(payload["progress"])
    except ValidationError as problem:
        key, reason = key_and_reason(problem)
        raise ContentError(f"progress.{key}", f"{reason}.") from problem
    # Each field by itself may be right, and contradict another.
    _require_consistent(progress)
    _require_generators(payload["generators"], progress.world)
    # Fields that an old state lacks stay with the defaults of RunState.
    return {name: getattr(progress, name) for name in progress.model_fields_set}


def _require_consistent(progress: Progress) -> None:
    for name, limit in (("values", None), ("chance", 0), ("correlations", 0)):
        count, epochs = len(getattr(progress, name)), progress.epoch
        if count > epochs or (limit is None and count != epochs):
            raise ContentError(
                f"progress.{name}", f"It has {count:,} values; {epochs:,} epochs are done."
            )
    if any(epoch < 1 or epoch > progress.epoch for epoch in progress.unsaved):
        raise ContentError("progress.unsaved", "It names an epoch that is not done.")
    if progress.entered > progress.epoch + 1:
        raise ContentError("progress.entered", "It names an epoch that is not under way.")


def _require_generators(found: Any, world: int) -> None:
    if not isinstance(found, list | tuple) or len(found) != world:
        raise ContentError("generators", f"It is not a list of the states of {world:,} processes.")
    for rank, states in enumerate(found):
        require_states(f"generators.{rank}", states)


def require_states(key: str, states: Any) -> None:
    """Refuse states of random number generators that those would not take.

    Raises:
        ContentError: The generators would not take them.
    """
    try:
        require_generators(states)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise ContentError(key, "It is not a state of the random number generators.") from problem


def require_keys(key: str, found: Any, names: tuple[str, ...]) -> None:
    """Refuse anything but a dictionary with these keys.

    Raises:
        ContentError: It is not a dictionary, or lacks a key.
    """
    if not isinstance(found, Mapping):
        raise ContentError(key, f"It is a {type(found).__name__}, not a dictionary.")
    missing = [name for name in names if name not in found]
    if missing:
        raise ContentError(key, f"There is no {missing[0]!r}.")


def require_plain(key: str, found: Any, *, levels: int = 16) -> None:
    """Refuse anything but a dictionary of plain values, as a JSON document has them.

    Raises:
        ContentError: It is no such dictionary.
    """
    require_keys(key, found, ())
    if not _is_plain(found, levels):
        raise ContentError(key, "It has something other than text, numbers, lists, dictionaries.")


def _is_plain(value: Any, levels: int) -> bool:
    # Below so many levels nothing is plain: a list may hold itself.
    if isinstance(value, list | tuple | dict) and levels:
        parts = value.values() if isinstance(value, dict) else value
        names = value if isinstance(value, dict) else ()
        return all(isinstance(n, str) for n in names) and all(
            _is_plain(part, levels - 1) for part in parts
        )
    return isinstance(value, str | int | float | None)


def require_tensors(key: str, found: Any, expected: Mapping[str, Any]) -> None:
    """Refuse named tensors that are not those of a model.

    Args:
        key: Place of the tensors in the file.
        found: The tensors.
        expected: The model's own.

    Raises:
        ContentError: Names, shapes or types differ.
    """
    require_keys(key, found, tuple(expected))
    for name, tensor in found.items():
        if name not in expected:
            raise ContentError(_place(key, name), "The model has no such tensor.")
        own = expected[name]
        if not isinstance(tensor, Tensor):
            raise ContentError(_place(key, name), f"It is a {type(tensor).__name__}, not a tensor.")
        # `load_state_dict` compares shapes, but converts types without a word.
        if (tensor.shape, tensor.dtype) != (own.shape, own.dtype):
            raise ContentError(
                _place(key, name), f"It is {described(tensor)}; the model has {described(own)}."
            )


def described(tensor: Tensor) -> str:
    """Describe a tensor's type and shape in a few words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def is_number(value: Any) -> bool:
    """Return whether something is a finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _place(*parts: Any) -> str:
    return ".".join(str(part) if isinstance(part, str | int) else "?" for part in parts)
