"""The weights that a model's history begins with, as timm publishes them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import timm
from timm.models import PretrainedCfg, get_arch_pretrained_cfgs, get_pretrained_cfg, is_model

from covtool.backbones.names import HUB_PREFIX

_UNKNOWN = (None, "", "unknown")
# Hex digits of a file's SHA-256 in its name: resnet50_a1_0-14fe96d1.pth.
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWeights:
    """Published weights.

    Attributes:
        name: Name of the weights, with its tag.
        hub_id: Their repository on the hub; None where timm names none.
        license: License that timm states for them; None where it states none.
    """

    name: str
    hub_id: str | None
    license: str | None


def source_weights(source: str | None, sha256: str | None) -> SourceWeights | None:
    """Return the weights of timm that a source stands for; None where that is not certain.

    A file counts only where its checksum is that in the published name: a name alone proves
    nothing about what is in it.

    Args:
        source: Name of the model or of the file.
        sha256: Checksum of the file; None for a name.

    Example:
        >>> source_weights("resnet50.a1_in1k", None).license
        'apache-2.0'
        >>> source_weights("resnet50_a1_0-14fe96d1.pth", "0" * 64)
    """
    if source is None:
        return None
    config = _of_name(source) if sha256 is None else _of_file(source, sha256)
    if config is None or not config.has_weights:
        return None
    tag = f".{config.tag}" if config.tag else ""
    return SourceWeights(
        name=f"{config.architecture}{tag}",
        hub_id=config.hf_hub_id or None,
        license=None if config.license in _UNKNOWN else config.license,
    )


def _of_name(name: str) -> PretrainedCfg | None:
    short = name.removeprefix(f"{HUB_PREFIX}timm/").partition("@")[0]
    architecture, _, tag = short.partition(".")
    if not re.fullmatch(r"\w+", architecture) or not is_model(architecture):
        return None
    try:
        return get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
    except RuntimeError:  # there is no such tag
        return None


def _of_file(name: str, sha256: str) -> PretrainedCfg | None:
    stated = _HASH.search(name)
    if stated is None or not sha256.startswith(stated[1]):
        return None
    return next((config for config in _configs() if _file_name(config) == name), None)


def _configs() -> Iterator[PretrainedCfg]:
    for architecture in timm.list_models():
        yield from get_arch_pretrained_cfgs(architecture).values()


def _file_name(config: PretrainedCfg) -> str | None:
    return config.url.rpartition("/")[2] if isinstance(config.url, str) else None
