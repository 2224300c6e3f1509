"""Files that are no model, though covtool writes them, and what takes each of them."""

import re
from collections.abc import Mapping, Set
from pathlib import Path

from covtool.errors import CheckpointError

RECORD_KEY = "covtool.index"
"""Where the metadata of an index keep the record of its model."""

LABELS_CHECKSUM_KEY = "covtool.labels.sha256"
"""Where the metadata of a safetensors file keep the checksum of the labels beside features."""

GIVE_THE_MODEL = "Give the model that it was made of."

_WRITTEN_STARTS = {
    # The version of the format, then the producer, the graph or the operator sets. TensorFlow's
    # programs begin alike, with version 1.
    re.compile(rb"\x08[\x03-\x1f][\x12\x3a\x42]"): (
        "an ONNX program, as covtool export writes",
        f"onnxruntime runs it. {GIVE_THE_MODEL}",
    ),
    re.compile(rb"---\r?\nlibrary_name: \w+\r?\ntags:\r?\n- covtool\b"): (
        "a model card, as covtool card writes",
        "Give the model that it is about.",
    ),
    re.compile(rb"IwSq"): (
        "an inverted file of faiss, as covtool index --faiss writes beside an index",
        "Search the index: covtool search INDEX QUERY... --backend faiss.",
    ),
}
_OF_FEATURES = "features.npy"
_OF_EXPORT = {"archive_format", "model.json"}  # of torch.export.save, whatever the model is called


def written_kind(start: bytes) -> tuple[str, str] | None:
    """Return what a file is by its first bytes, and what to do; None where covtool writes none."""
    return next((kind for known, kind in _WRITTEN_STARTS.items() if known.match(start)), None)


def require_no_features(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse features of images by the metadata of their file, before they are read.

    Raises:
        CheckpointError: The file is an index, or features as ``covtool embed`` writes them.
    """
    if RECORD_KEY in metadata:
        raise CheckpointError(
            f"{path} is an index of images, not a model.",
            reason="It holds features of images, as covtool index writes them.",
            hint=f"Search in it: covtool search {path} QUERY... For all else, name the model that "
            "it was made with.",
        )
    if LABELS_CHECKSUM_KEY in metadata:
        raise _features(path)


def require_no_program(path: Path, names: Set[str]) -> None:
    """Refuse archives of arrays and of programs by the names in them.

    Args:
        path: The archive.
        names: Names of its files, without folders.

    Raises:
        CheckpointError: It is one.
    """
    if _OF_FEATURES in names:
        raise _features(path)
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(
            f"{path} is not a checkpoint.",
            reason="It is an archive of NumPy arrays.",
            hint="Where it was made, write the tensors with torch.save(state_dict, PATH).",
        )
    if names >= _OF_EXPORT:
        raise CheckpointError(
            f"{path} is a program of torch.export, not a checkpoint.",
            reason="It holds a graph of operations, as covtool export writes it.",
            hint=f"torch.export.load(PATH).module() runs it. {GIVE_THE_MODEL}",
        )


def _features(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} holds features of images, not a model.",
        reason="It is a file as covtool embed writes.",
        hint=f"Measure them: covtool evaluate --data DATA --distances-from {path}. "
        "An index to search in is made of a model and images: covtool index.",
    )
