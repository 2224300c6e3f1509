"""Read what others wrote, recognize it, and read and write covtool's own files.

Names are loaded when they are first used: what looks at paths alone does not wait for torch.
"""

from importlib import import_module

_HOME = {
    "Candidate": "matching",
    "ForeignCheckpoint": "foreign",
    "Identification": "identification",
    "OpenedModel": "opened",
    "identify": "recognizing",
    "load": "loading",
    "open_model": "opening",
    "read_checkpoint": "foreign",
    "save": "model_file",
}

__all__ = [
    "Candidate",
    "ForeignCheckpoint",
    "Identification",
    "OpenedModel",
    "identify",
    "load",
    "open_model",
    "read_checkpoint",
    "save",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
