"""The model of an index: its fingerprint, and opening it again."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.tensor_checksum import checksum
from covtool.errors import ArgumentError, CheckpointError, CovtoolError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.model_request import ModelRequest
from covtool.full_paths import absolute
from covtool.indexing.index_record import IndexRecord
from covtool.launch_environment import place
from covtool.specs import FeatureSpec, ModelSource

SHOWN = 16
"""Characters of a fingerprint in a message."""

_MODEL_OR_ANEW = "Give the model that it was made with (--model FILE), or make the index again."


def model_fingerprint(opened: OpenedModel, layer: str, spec: FeatureSpec) -> str:
    """Return SHA-256 over everything that decides a feature, in hexadecimal.

    That is the recipe's structure and images, every tensor, and the choice of the features. Where
    the file came from, and what it is called, is not in it.

    Args:
        opened: The model.
        layer: Path of the module whose input the features are.
        spec: Choice of the features.
    """
    recipe = opened.recipe
    structure = recipe.model_dump(mode="json", include={"base", "operations", "input"})
    chosen = {**structure, "layer": layer, "flip_test": spec.flip_test}
    found = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode() + b"\n")
    found.update(checksum(opened.model.state_dict()).encode())
    return found.hexdigest()


def kept_source(source: ModelSource) -> ModelSource:
    """Return the source as an index keeps it: a path in full, a name as it is."""
    # A run's state is named RUN@last: no such file, and still a path.
    if not Path(source.name.rpartition("@")[0] or source.name).exists():
        return source
    return source.model_copy(update={"name": str(absolute(Path(source.name)))})


def open_for_index(
    record: IndexRecord, request: ModelRequest, index: Path
) -> tuple[OpenedModel, ModelRequest]:
    """Return the model of an index, once it is sure that it is this one, and its request.

    Args:
        record: Record of the index.
        request: Another place of the model, or the index's own; and how it is run.
        index: Path of the index, for the error.

    Raises:
        CheckpointError: The model cannot be opened, or is another one.
    """
    source = request.source
    if source.name != record.model.name:
        source = record.model.model_copy(update={"name": source.name})
    request = replace(request, source=source)
    try:
        opened = request.open()
    except CovtoolError as problem:
        if source.name != record.model.name and isinstance(problem, ArgumentError):
            # Images are prepared as for the index, which another network may not take.
            raise CheckpointError(
                f"{source.name} cannot be opened as the model of {index}.",
                reason=problem.message,
                hint=_MODEL_OR_ANEW,
            ) from problem
        if source.name != record.model.name or not isinstance(problem, CheckpointError):
            raise
        raise CheckpointError(
            f"The model of {index} cannot be opened: {problem.message}",
            reason=problem.reason,
            hint="Give the place where it is now: --model FILE.",
        ) from problem
    return opened, request


def require_same_model(
    record: IndexRecord, opened: OpenedModel, extractor: FeatureExtractor, named: str, index: Path
) -> None:
    """Refuse a model whose features are others than those of an index.

    Raises:
        CheckpointError: It is another one.
    """
    found = model_fingerprint(opened, extractor.layer, spec_of(record))
    if found == record.fingerprint:
        return
    raise CheckpointError(
        f"{named} is not the model of {index}: their features cannot be compared.",
        reason=f"The index was made with {record.model.name} (fingerprint "
        f"{record.fingerprint[:SHOWN]}); {named} has {found[:SHOWN]}.",
        hint=_MODEL_OR_ANEW,
    )


def spec_of(record: IndexRecord) -> FeatureSpec:
    """Return the choice of the features of an index."""
    return FeatureSpec(feature=record.feature, flip_test=record.flip_test)


def require_one_process() -> None:
    """Refuse several processes, which would all write the same file.

    Raises:
        ArgumentError: There are several.
    """
    own = place()
    if own is not None and own.world > 1:
        raise ArgumentError(
            "An index is made and searched by one process.",
            hint="Give the command without torchrun; covtool embed extracts features in several.",
        )
