"""The format that a file's name promises."""

import os
from collections.abc import Sequence
from pathlib import Path

from covtool.errors import ArgumentError

MODELS = (".safetensors",)
FEATURES = (".safetensors", ".npz", ".csv")
FIGURES = (".png", ".svg", ".pdf")
PICTURES = (".png",)
INDEXES = (".index",)
PREDICTIONS = (".csv", ".jsonl", ".parquet")
HITS = (".csv", ".jsonl")
PROGRAMS = (".onnx", ".pt2")
CARDS = (".md",)

KNOWN_SUFFIXES = frozenset(
    (
        *(".pth", ".pt", ".pt2", ".bin", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".npy"),
        *(".onnx", ".h5", ".hdf5", ".pb", ".tflite", ".msgpack", ".safetensor", ".safetensors"),
        *(".md", ".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".yaml", ".yml", ".index"),
        *(".png", ".jpg", ".jpeg", ".svg", ".pdf", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
        *(".zip", ".gz", ".bz2", ".xz", ".zst", ".tgz"),
    )
)
"""Suffixes of formats, which a proposed name loses; other ends, as .a1_in1k, are part of a name."""


def require_suffix(path: Path, suffixes: Sequence[str], *, what: str) -> None:
    """Refuse the name of an output that does not end as its format does.

    What reads a file goes by its name: ``torch.load`` could not read a ``model.pth`` that holds
    safetensors. Nothing is looked at or imported for it, so that it can be the first check.

    Args:
        path: Name of the file to write.
        suffixes: Suffixes of the formats that are written, each with its dot, in lower case; the
            case of the name does not matter.
        what: Kind of the file, as in "a file of features".

    Raises:
        ArgumentError: The name ends in none of `suffixes`, or is nothing else.

    Example:
        >>> require_suffix(Path("net.safetensors"), MODELS, what="a model's file")
    """
    name = path.name.lower()
    if any(name.endswith(suffix) and name != suffix for suffix in suffixes):
        return
    ends = ", ".join(suffixes)
    raise ArgumentError(
        f"{path} is not the name of {what}.",
        reason=f"The name must end in {ends if len(suffixes) == 1 else f'one of {ends}'}.",
        hint=_proposal(path, suffixes[0]),
    )


def require_model_name(path: Path) -> None:
    """Refuse a name for a model's file that is not one of safetensors; see `require_suffix`."""
    require_suffix(path, MODELS, what="a file of safetensors, which is what covtool writes")


def require_feature_name(path: Path) -> None:
    """Refuse a name for a file of features that is not one; see `require_suffix`."""
    require_suffix(path, FEATURES, what="a file of features")


def require_figure_name(path: Path) -> None:
    """Refuse a name for a drawing that does not say which kind; see `require_suffix`."""
    require_suffix(path, FIGURES, what="a picture that covtool draws")


def require_picture_name(path: Path) -> None:
    """Refuse a name for images side by side that is not a PNG file's; see `require_suffix`."""
    require_suffix(path, PICTURES, what="a PNG file")


def require_index_name(path: Path) -> None:
    """Refuse a name for an index that is not one; see `require_suffix`."""
    require_suffix(path, INDEXES, what="an index")


def require_prediction_name(path: Path) -> None:
    """Refuse a name for a file of predictions that is not one; see `require_suffix`."""
    require_suffix(path, PREDICTIONS, what="a file of predictions")


def require_hits_name(path: Path) -> None:
    """Refuse a name for what a search finds that is not one; see `require_suffix`."""
    require_suffix(path, HITS, what="a file of what a search finds")


def require_program_name(path: Path) -> None:
    """Refuse a name for an exported model that is not one; see `require_suffix`."""
    what = "an exported program; a folder for timm takes --format timm"
    require_suffix(path, PROGRAMS, what=what)


def require_card_name(path: Path) -> None:
    """Refuse a name for a model card that is not one; see `require_suffix`."""
    require_suffix(path, CARDS, what="a model card")


OUTPUTS = {
    "model": require_model_name,
    "features": require_feature_name,
    "figure": require_figure_name,
    "picture": require_picture_name,
}
"""By the kind of file."""


def _proposal(path: Path, suffix: str) -> str:
    if os.path.isdir(path):  # noqa: PTH112 -- Path's raises where a name is too long
        return f"It is a folder: name a file in it, {path / f'NAME{suffix}'}."
    stem = path.name
    while Path(stem).suffix.lower() in KNOWN_SUFFIXES:
        stem = Path(stem).stem
    stem = "NAME" if stem.lower() in KNOWN_SUFFIXES else stem.rstrip(".")
    return f"Call it {path.parent / (stem + suffix)}."
