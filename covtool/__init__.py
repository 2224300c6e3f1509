"""covtool: model surgery and fine-tuning with second-order and spectral methods.

Names are loaded when they are first used, so that importing the package stays cheap.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "identify": "covtool.checkpoints",
    "load": "covtool.checkpoints",
    "open_model": "covtool.checkpoints",
    "save": "covtool.checkpoints",
    "convert": "covtool.conversion",
    "export": "covtool.exporting",
    "ExportRequest": "covtool.exporting",
    "predict": "covtool.prediction",
}

__all__ = [
    "ExportRequest",
    "__version__",
    "convert",
    "export",
    "identify",
    "load",
    "open_model",
    "predict",
    "save",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'covtool' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
