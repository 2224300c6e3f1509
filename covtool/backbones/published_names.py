"""The names under which timm and torchvision publish their weights, read from their registries."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import timm
from timm.models import get_arch_pretrained_cfgs

# No public names, checked by tests; timm's functions give copies, which take as long as the rest.
from timm.models._registry import _deprecated_models, _model_pretrained_cfgs, _model_with_tags
from torchvision import models as torchvision_models

from covtool.backbones.create import TORCHVISION_PREFIX, is_architecture, torchvision_names
from covtool.backbones.library_input import config_input, preset_input
from covtool.specs import InputSpec

SUFFIXES = ("pth", "pt", "tar", "bin", "ckpt", "safetensors", "npz", "pyth", "torch")

# Eight hex digits, as in torchvision's resnet50-0676ba61.pth.
_HASH = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?![0-9a-z])")
_MOST_PARTS = 24  # of a name; what comes behind is not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """Weights that timm or torchvision publishes.

    Attributes:
        names: Names of the architecture, the library's own first: ``resnet50.tv2_in1k``,
            ``torchvision:resnet50``.
        input: The images that the weights were trained for.
        num_classes: Outputs of the published classifier; 0 without one, None where unknown.
        is_exact: Whether the whole of a file's name is the published one, not a part of it.
    """

    names: tuple[str, ...]
    input: InputSpec
    num_classes: int | None
    is_exact: bool = True


def current_name(name: str) -> str:
    """Return a timm name as it is spelled today: ``vit_small_patch16_224_dino`` had no tag once.

    Example:
        >>> current_name("tf_efficientnet_b0_ap"), current_name("resnet50")
        ('tf_efficientnet_b0.ap_in1k', 'resnet50')
    """
    today = _deprecated_models.get(name)
    return name if today is None else _with_published_tag(today)


def published_weights(file_name: str) -> PublishedWeights | None:
    """Return the weights that are published under a name, or under a part of it.

    A part between separators will do: copies are called ``resnet50-0676ba61 (1).pth`` and
    ``timm_resnet50.a1_in1k``. Of several parts the longest counts; a hash counts alone.

    Args:
        file_name: Name of a file, a folder or a hub's repository, with or without its suffix.
    """
    table, parts = _table(), _parts(file_name)
    name = _longest_part(parts, table)
    if name is not None:
        return table[name] if name == "_".join(parts) else _inexact(table[name])
    hashes = _HASH.findall(file_name.lower())
    found = next((table[h] for h in hashes if h in table), None)
    return found and _inexact(found)


def named_architecture(file_name: str) -> str | None:
    """Return the longest architecture's name in a name; timm's before torchvision's."""
    known = _architectures()
    name = _longest_part(_parts(file_name), known)
    return None if name is None else known[name]


def known_architecture(word: str) -> str | None:
    """Return an architecture's name as its library spells it today, with its tag if it has one.

    Args:
        word: Name that a configuration has: ``timm/resnet50.a1_in1k``, ``ResNet50``,
            ``efficientnet-b0``, ``torchvision:resnet50``.

    Returns:
        None where neither library has it.

    Example:
        >>> known_architecture("efficientnet-b0"), known_architecture("timm/resnet18.a1_in1k")
        ('efficientnet_b0', 'resnet18.a1_in1k')
    """
    name = current_name(word.rpartition("/")[2])
    if is_architecture(name):
        return _with_published_tag(name)
    return _architectures().get("_".join(_parts(name)))


def _with_published_tag(name: str) -> str:
    """Return a name without a tag that no weights have."""
    architecture, _, tag = name.partition(".")
    return name if not tag or name in get_arch_pretrained_cfgs(architecture) else architecture


def _inexact(weights: PublishedWeights) -> PublishedWeights:
    return PublishedWeights(
        names=weights.names,
        input=weights.input,
        num_classes=weights.num_classes,
        is_exact=False,
    )


def _longest_part(parts: Sequence[str], known: Collection[str]) -> str | None:
    """Return the longest known name that the parts make up, joined as there."""
    # The longest first: resnet50_a1 must not be read as resnet50.
    for length in range(len(parts), 0, -1):
        for start in range(len(parts) - length + 1):
            name = "_".join(parts[start : start + length])
            if name in known:
                return name
    return None


def _parts(file_name: str) -> list[str]:
    parts = [part for part in re.split(r"[^a-z0-9]+", file_name.lower()) if part]
    while len(parts) > 1 and parts[-1] in SUFFIXES:
        parts.pop()
    return parts[:_MOST_PARTS]


@cache
def _table() -> dict[str, PublishedWeights]:
    """Weights by each of their names; torchvision's own files have torchvision's own images."""
    table: dict[str, PublishedWeights] = {}
    # torchvision's first: timm republishes its files, with other names and the same weights.
    for keys, weights in (*_of_torchvision(), *_of_timm()):
        for key in keys:
            known = table.setdefault("_".join(_parts(key)), weights)
            if known.names[0].startswith(TORCHVISION_PREFIX) and known.names != weights.names:
                both = PublishedWeights(
                    names=(*weights.names, known.names[0]),
                    input=known.input,
                    num_classes=known.num_classes,
                )
                table["_".join(_parts(key))] = both
    # Files keep the names that their architectures had in their time.
    for old, new in _deprecated_models.items():
        found = table.get("_".join(_parts(new or "")))
        if found is not None:
            table.setdefault("_".join(_parts(old)), found)
    return table


def _of_timm() -> Iterator[tuple[tuple[str, ...], PublishedWeights]]:
    for architecture in timm.list_models():
        for name in _model_with_tags.get(architecture, ()):
            config = _model_pretrained_cfgs[name]
            if not config.has_weights:
                continue
            tagged = [f"{architecture}.{config.tag}"] if config.tag else []
            keys = [*tagged]
            keys += _file_keys(config.url) if isinstance(config.url, str) else []
            keys += [config.hf_hub_id.rpartition("/")[2]] if config.hf_hub_id else []
            weights = PublishedWeights(
                names=tuple(tagged or [architecture]),
                input=config_input(config),
                num_classes=config.num_classes,
            )
            yield tuple(keys), weights


def _of_torchvision() -> Iterator[tuple[tuple[str, ...], PublishedWeights]]:
    for name in torchvision_names():
        for weights in torchvision_models.get_model_weights(name):
            keys = (*_file_keys(weights.url), f"{name}_{weights.name}", str(weights))
            yield (
                keys,
                PublishedWeights(
                    names=(f"{TORCHVISION_PREFIX}{name}",),
                    input=preset_input(weights.transforms()),
                    num_classes=len(weights.meta.get("categories") or ()) or None,
                ),
            )


def _file_keys(url: str) -> list[str]:
    """Return the file's name, and the hash in it."""
    name = url.rpartition("/")[2]
    return [name, *_HASH.findall(name.lower())[-1:]]


@cache
def _architectures() -> dict[str, str]:
    names = [f"{TORCHVISION_PREFIX}{name}" for name in torchvision_names()]
    names += timm.list_models()
    return {"_".join(_parts(n.removeprefix(TORCHVISION_PREFIX))): n for n in names}
