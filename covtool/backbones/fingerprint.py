"""Fingerprints of architectures: names and shapes of their tensors, and their classifiers."""

import logging
import warnings
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models as torchvision_models

from covtool.backbones.create import torchvision_names

Shape = tuple[int, ...]

# Counters, buffers that are computed from the configuration (some versions store them, others do
# not), and what profilers leave behind. They tell nothing about the architecture.
IRRELEVANT = (
    "num_batches_tracked",
    "relative_position_index",
    "relative_coords_table",
    "attn_mask",
    "total_ops",
    "total_params",
)

_TOLD_BY_BUILDING = (1000, 1001)  # two numbers of classes: what differs is a classifier
_VARIANTS = {"inception_v3": [{"aux_logits": False}], "googlenet": [{"aux_logits": False}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A name that a library can build.

    Attributes:
        library: ``timm`` or ``torchvision``.
        name: There.
        classifiers: Modules whose outputs are the classes; their tensors may differ or be absent.
        arguments: Further arguments of the constructor.
    """

    library: str
    name: str
    classifiers: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """An architecture with the names and shapes of its tensors, in the order of the state dict."""

    architecture: Architecture
    tensors: tuple[tuple[str, Shape], ...]


def is_relevant(name: str) -> bool:
    """Return whether a tensor of that name says something about the architecture."""
    return name.rpartition(".")[2] not in IRRELEVANT


def timm_fingerprint(name: str) -> Fingerprint:
    """Fingerprint of a timm model with its default number of classes."""
    model = _built(lambda: timm.create_model(name, pretrained=False))
    tensors = _tensors(model)
    architecture = Architecture(
        library="timm", name=name, classifiers=_timm_classifiers(model, tensors)
    )
    return Fingerprint(architecture=architecture, tensors=tensors)


def _timm_classifiers(model: nn.Module, tensors: tuple[tuple[str, Shape], ...]) -> tuple[str, ...]:
    """Return timm's classifiers, and a distillation head that it forgets (levit_384_s8)."""
    classifiers = model.pretrained_cfg.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    heads = (name for name in classifiers if name.startswith("head"))
    twins = (name.replace("head", "head_dist", 1) for name in heads)
    forgotten = [t for t in twins if any(name.startswith(f"{t}.") for name, _ in tensors)]
    return tuple(dict.fromkeys((*classifiers, *forgotten)))


def torchvision_fingerprints(name: str) -> list[Fingerprint]:
    """Fingerprints of a torchvision model: one, or two where auxiliary heads can be left out."""
    return [_torchvision(name, arguments) for arguments in ({}, *_VARIANTS.get(name, ()))]


def all_timm_names() -> list[str]:
    """Return every architecture of the installed timm."""
    return timm.list_models()


def all_torchvision_names() -> list[str]:
    """Return every classification architecture of the installed torchvision."""
    return list(torchvision_names())


def _torchvision(name: str, arguments: dict[str, Any]) -> Fingerprint:
    extra = {"init_weights": False} if name in _VARIANTS else {}

    def build(num_classes: int) -> nn.Module:
        return torchvision_models.get_model(
            name, weights=None, num_classes=num_classes, **extra, **arguments
        )

    # torchvision names no classifier: its tensors are those whose shapes follow the classes.
    first, second = (_tensors(_built(lambda n=n: build(n))) for n in _TOLD_BY_BUILDING)
    changed = [a[0] for a, b in zip(first, second, strict=True) if a != b]
    classifiers = tuple(dict.fromkeys(key.rpartition(".")[0] for key in changed))
    architecture = Architecture(
        library="torchvision", name=name, classifiers=classifiers, arguments=arguments
    )
    return Fingerprint(architecture=architecture, tensors=first)


def _built(build: Any) -> nn.Module:
    """Build a model without memory for its weights, or with it where there is no other way."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # timm warns about deprecated names; here all are wanted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with torch.device("meta"):
                    return build()
            except (RuntimeError, NotImplementedError):
                return build()
    finally:
        logging.disable(disabled)


def _tensors(model: nn.Module) -> tuple[tuple[str, Shape], ...]:
    state = model.state_dict()
    return tuple((name, tuple(t.shape)) for name, t in state.items() if is_relevant(name))
