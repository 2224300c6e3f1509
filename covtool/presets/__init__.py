"""Settings for a purpose, as YAML files: `PRESETS`.

A file holds two documents: summary and source, then the settings by the names of the command's
options, which is a file for ``covtool finetune --config`` as it stands.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from covtool.documents import parse_yaml
from covtool.errors import UnknownKeyError
from covtool.registry import Registry
from covtool.specs.finetuning import SETTINGS

_KNOWN = tuple(name for spec in SETTINGS.values() for name in spec.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Settings of a fine-tuning run that go together.

    Attributes:
        name: Word that ``--preset`` takes.
        summary: One line, with a full stop.
        source: Authors of the numbers.
        settings: Values by the names of the command's options, for
            `FinetuneRequest.from_arguments`.
        text: The settings as YAML, with what there is to say about each.
    """

    name: str
    summary: str
    source: str
    settings: dict[str, Any]
    text: str


def parse_preset(name: str, text: str) -> Preset:
    """Return the preset that a file's text describes.

    Raises:
        UnknownKeyError: It sets what is not a setting of a run.
    """
    head, _, body = text.partition("\n---\n")
    described, settings = parse_yaml(head), parse_yaml(body)
    for key in settings:
        if key not in _KNOWN:
            raise UnknownKeyError(f"The preset {name}", key, _KNOWN)
    return Preset(name=name, settings=settings, text=body, **described)


def _read(name: str) -> Preset:
    return parse_preset(name, files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


PRESETS = Registry("preset", tuple(map(_read, ("fgvc", "reid", "imagenet", "quick"))))
"""By name."""
