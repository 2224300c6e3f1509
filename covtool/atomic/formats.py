"""The format that a file's name promises."""

from pathlib import Path

from covtool.errors import ArgumentError

OTHER_FORMATS = frozenset(
    (
        *(".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".npy", ".onnx"),
        *(".h5", ".hdf5", ".pb", ".tflite", ".msgpack", ".zip", ".safetensor", ".txt", ".csv"),
        *(".json", ".yaml", ".yml"),
    )
)
"""Suffixes of other formats, which a model is not written under."""


def require_model_name(path: Path) -> None:
    """Refuse a name for a model's file that promises another format.

    ``torch.load`` could not read a ``model.pth`` that holds safetensors.

    Raises:
        ArgumentError: The suffix is one of `OTHER_FORMATS`.
    """
    if path.suffix.lower() in OTHER_FORMATS:
        raise ArgumentError(
            f"{path} is not the name of a file of safetensors, which is what covtool writes.",
            hint=f"Call it {path.with_suffix('.safetensors')}.",
        )
