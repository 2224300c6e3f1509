"""A batch that went wrong, with everything that is needed to run it again, in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from covtool.atomic import written_whole
from covtool.errors import CheckpointError, CovtoolError
from covtool.specs import FinetuneRequest, Recipe
from covtool.specs.recipe_reading import recipe_of
from covtool.training.assembly import Parts
from covtool.training.surroundings import describe_environment

DUMP_VERSION = 1
KIND = "covtool non-finite update"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBatch:
    """Images as the model saw them.

    Attributes:
        images: On the CPU, varied and mixed.
        targets: Of the loss.
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
        problem: What was not finite.
        reason: Where that starts.
        layer: The first layer with a non-finite output; None where all are finite.
        loss: Of the last batch, in nats.
        epoch: Counted from 0.
        step: Within the epoch, counted from 1.
        update: Within the run, counted from 1.
        scale: Of the loss, by the scaler.
        batches: What went through the model, in order; the last one is the offender.
        model: Weights and statistics before the update.
        model_ema: Of the moving average; None without one.
        request: The run's settings.
        recipe: Of the model, with the head that it came with.
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
    batches: tuple[SeenBatch, ...]
    model: dict[str, Tensor]
    model_ema: dict[str, Tensor] | None
    request: FinetuneRequest
    recipe: Recipe
    environment: dict[str, Any]


def write_dump(parts: Parts, path: Path, batches: Sequence[SeenBatch], **found: Any) -> None:
    """Write a dump, whole or not at all; loads with ``weights_only=True``.

    Args:
        parts: The run, as it was before the update.
        path: The file; replaced if it is there.
        batches: What went through the model.
        **found: `problem`, `reason`, `layer`, `loss`, `epoch`, `step` and `update` of `Dump`.

    Raises:
        SaveError: It cannot be written.
    """
    names = SeenBatch.__dataclass_fields__
    payload = {
        "kind": KIND,
        "version": DUMP_VERSION,
        **found,
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
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, UnpicklingError, RuntimeError, EOFError) as problem:
        raise CheckpointError(
            f"{path} cannot be read.", reason=str(problem).splitlines()[0]
        ) from problem
    if not isinstance(payload, dict) or payload.pop("kind", None) != KIND:
        raise CheckpointError(
            f"{path} is no dump of an update that was not finite.",
            hint="covtool finetune writes such a file, nonfinite.pt, when it stops for that.",
        )
    if payload.pop("version") != DUMP_VERSION:
        raise CheckpointError(f"{path} was written by another version of covtool.")
    try:
        return _parsed(payload)
    except (KeyError, TypeError, ValueError, CovtoolError) as problem:
        raise CheckpointError(
            f"{path} is damaged.", reason=str(problem).splitlines()[0]
        ) from problem


def _parsed(payload: dict[str, Any]) -> Dump:
    batches = tuple(SeenBatch(**batch) for batch in payload.pop("batches"))
    request = FinetuneRequest.from_arguments(payload.pop("request"))
    recipe = recipe_of(payload.pop("recipe"))
    return Dump(batches=batches, request=request, recipe=recipe, **payload)
