"""A batch that went wrong, with everything that is needed to run it again, in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from covtool.atomic import written_whole
from covtool.checkpoints.unpickling import load_own_file
from covtool.errors import CheckpointError, CovtoolError, first_line
from covtool.printable import escaped, printable
from covtool.specs import FinetuneRequest, Recipe
from covtool.specs.problems import first_problem
from covtool.specs.recipe_reading import recipe_of
from covtool.training.parts.assembly import Parts
from covtool.training.run.environment import describe_environment
from covtool.training.run.state_content import (
    ContentError,
    Count,
    is_number,
    require_keys,
    require_plain,
    require_states,
)

DUMP_VERSION = 1
KIND = "covtool non-finite update"
_DIMENSIONS = 4  # of a batch of images


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBatch:
    """A batch as the model got it.

    Attributes:
        images: Images on the CPU, after augmentation and mixing.
        targets: Targets of the loss.
        share: Weight of their mean loss in the update's.
        generators: States of the random number generators before the forward pass.
    """

    images: Tensor
    targets: Tensor
    share: float
    generators: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """An update that was not finite.

    Attributes:
        problem: Quantity that was not finite.
        reason: Sentence that says where that starts.
        layer: The first layer with a non-finite output; None where all are finite.
        loss: Loss of the last batch, in nats.
        epoch: Epoch, counted from 0.
        step: Number within the epoch, counted from 1.
        update: Number within the run, counted from 1.
        scale: Factor of the loss, by the scaler.
        batches: Batches as they went through the model; the last one is the offender.
        model: Weights and statistics before the update.
        model_ema: The same of the moving average; None without one.
        request: The run's settings.
        recipe: Recipe of the model, with the head that it came with.
        environment: Versions and device.
    """

    problem: str
    reason: str
    layer: str | None
    loss: float
    epoch: int
    step: int
    update: int
    scale: float
    batches: tuple[RecordedBatch, ...]
    model: dict[str, Tensor]
    model_ema: dict[str, Tensor] | None
    request: FinetuneRequest
    recipe: Recipe
    environment: dict[str, Any]


def write_dump(parts: Parts, path: Path, batches: Sequence[RecordedBatch], **finding: Any) -> None:
    """Write a dump, whole or not at all; loads with ``weights_only=True``.

    Args:
        parts: The run, as it was before the update.
        path: The file; replaced if it is there.
        batches: Batches as they went through the model.
        **finding: `problem`, `reason`, `layer`, `loss`, `epoch`, `step` and `update` of `Dump`.

    Raises:
        SaveError: It cannot be written.
    """
    names = RecordedBatch.__dataclass_fields__
    payload = {
        "kind": KIND,
        "version": DUMP_VERSION,
        **finding,
        "scale": parts.scaler.get_scale(),
        "batches": [{name: getattr(batch, name) for name in names} for batch in batches],
        "model": parts.model.state_dict(),
        "model_ema": None if parts.ema is None else parts.ema.module.state_dict(),
        "request": parts.request.to_arguments(),
        "recipe": parts.recipe.model_dump(mode="json"),
        "environment": describe_environment(parts.device),
    }
    with written_whole(path) as temporary:
        try:
            torch.save(payload, temporary)
        except RuntimeError as problem:  # torch's own, where a write fails
            raise OSError(str(problem).splitlines()[0]) from problem


def read_dump(path: Path) -> Dump:
    """Read what `write_dump` wrote; no code in the file is run.

    Raises:
        CheckpointError: The file cannot be read or is no such dump.
    """
    try:
        payload = load_own_file(path)
    except CheckpointError as problem:
        raise CheckpointError(
            f"{path} cannot be read.", reason=problem.reason or problem.message
        ) from problem
    if not isinstance(payload, dict) or payload.pop("kind", None) != KIND:
        raise CheckpointError(
            f"{path} is not a dump of an update that was not finite.",
            hint="covtool finetune writes such a file, nonfinite.pt, when it stops for that.",
        )
    version = payload.pop("version", None)
    if not isinstance(version, int) or version != DUMP_VERSION:
        raise CheckpointError(f"{path} was written by another version of covtool.")
    try:
        return _parsed(payload)
    except ValidationError as problem:
        raise damaged_dump(path, first_problem(problem)) from problem
    except (CovtoolError, AttributeError, LookupError, TypeError, ValueError) as problem:
        raise damaged_dump(path, first_line(problem)) from problem


def damaged_dump(path: Path, reason: str) -> CheckpointError:
    """Return the error of a dump that holds something no run writes."""
    first = (reason.splitlines() or [""])[0]
    return CheckpointError(f"{path} is damaged.", reason=printable(first))


class _Figures(BaseModel):
    """The plain values of a dump."""

    model_config = ConfigDict(strict=True, extra="forbid")  # strict: no number in quotes

    problem: str
    reason: str
    layer: str | None
    loss: float
    epoch: Count
    step: Count
    update: Count
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    environment: dict[str, str | int | float | None]

    def shown(self) -> dict[str, Any]:
        """Return the fields, their texts fit for a terminal."""
        environment = {escaped(k): _shown(v) for k, v in self.environment.items()}
        return {**{k: _shown(v) for k, v in self}, "environment": environment}


def _shown(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) else value


_OF_MODEL = ("batches", "model", "model_ema", "request", "recipe")


def _parsed(payload: dict[str, Any]) -> Dump:
    require_keys("The dump", payload, _OF_MODEL)
    figures = {name: value for name, value in payload.items() if name not in _OF_MODEL}
    figures = _Figures.model_validate(figures).shown()
    require_plain("request", payload["request"])
    require_plain("recipe", payload["recipe"])
    request = FinetuneRequest.from_arguments(payload["request"])
    recipe = recipe_of(payload["recipe"])
    batches = payload["batches"]
    if not isinstance(batches, list) or not batches:
        raise ContentError("batches", "It is not a list of batches.")
    seen = tuple(_batch(f"batches.{n}", batch, recipe) for n, batch in enumerate(batches))
    for name in ("model", "model_ema"):
        _require_named_tensors(name, payload[name], may_miss=name == "model_ema")
    weights = {name: payload[name] for name in ("model", "model_ema")}
    return Dump(batches=seen, request=request, recipe=recipe, **weights, **figures)


def _batch(key: str, batch: Any, recipe: Recipe) -> RecordedBatch:
    names = tuple(RecordedBatch.__dataclass_fields__)
    require_keys(key, batch, names)
    images, targets = batch["images"], batch["targets"]
    is_batch = isinstance(images, Tensor) and images.dim() == _DIMENSIONS and len(images)
    fits = is_batch and images.is_floating_point() and images.shape[1] == recipe.input.channels
    if not fits or not min(images.shape):
        raise ContentError(f"{key}.images", "They are not a batch of images that the model takes.")
    if not isinstance(targets, Tensor) or not targets.dim() or len(targets) != len(images):
        raise ContentError(f"{key}.targets", "They are not one for each image.")
    # A label beyond the outputs is an assertion of a CUDA kernel, after which no kernel runs.
    labels = targets.dim() == 1 and not targets.is_floating_point()
    if labels and not 0 <= int(targets.min()) <= int(targets.max()) < recipe.num_classes:
        raise ContentError(f"{key}.targets", "They name classes that the model does not have.")
    if not is_number(batch["share"]):
        raise ContentError(f"{key}.share", "It is not a number.")
    require_states(f"{key}.generators", batch["generators"])
    return RecordedBatch(**{name: batch[name] for name in names})


def _require_named_tensors(key: str, value: Any, *, may_miss: bool) -> None:
    if value is None and may_miss:
        return
    require_keys(key, value, ())
    if not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in value.items()):
        raise ContentError(key, "It holds something other than named tensors.")
