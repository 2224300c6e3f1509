"""What a file's name says about its format."""

from pathlib import Path

from covtool.errors import ArgumentError

OTHER_FORMATS = frozenset(
    (
        *(".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".npy", ".onnx"),
        *(".h5", ".hdf5", ".pb", ".tflite", ".msgpack", ".zip", ".safetensor", ".txt", ".csv"),
        *(".json", ".yaml", ".yml"),
    )
)
"""How the names of other files end, which a model is not written to."""


def require_model_name(path: Path) -> None:
    """Refuse a name for a model's file that is one of another format.

    Whoever loads ``model.pth`` with ``torch.load`` would not get far.

    Raises:
        ArgumentError: It ends so.
    """
    if path.suffix.lower() in OTHER_FORMATS:
        raise ArgumentError(
            f"{path} is not the name of a file of safetensors, which is what covtool writes.",
            hint=f"Call it {path.with_suffix('.safetensors')}.",
        )
