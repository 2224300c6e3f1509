"""Names of architectures become models. timm and torchvision look alike from here on."""

from difflib import get_close_matches

import timm
import torch
from timm.layers import SelectAdaptivePool2d
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model
from torch import nn
from torchvision import models as torchvision_models
from torchvision.transforms._presets import ImageClassification

from covtool.backbones.auxiliary import (
    ARGUMENT,
    drop_auxiliary_,
    has_auxiliary,
    transforms_input,
)
from covtool.backbones.slots import install_pooling_slot
from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs import BaseSpec, InputSpec

TORCHVISION_PREFIX = "torchvision:"


def parse_name(name: str) -> tuple[BaseSpec, str | None]:
    """Architecture and pretrained tag of a name: ``resnet50.a1_in1k``, ``torchvision:resnet50``.

    Raises:
        UnknownVariantError: Neither library has it; near names are suggested.
    """
    if name.startswith(TORCHVISION_PREFIX):
        short = name.removeprefix(TORCHVISION_PREFIX)
        known = torchvision_names()
        if short not in known:
            raise UnknownVariantError("torchvision classification model", short, known)
        return BaseSpec(library="torchvision", name=short), None
    short, _, tag = name.partition(".")
    if not is_model(short):
        raise UnknownVariantError("architecture", name, _near_names(short))
    if tag:
        _require_tag(short, tag)
    return BaseSpec(library="timm", name=short), tag or None


def is_architecture(name: str) -> bool:
    """Whether a library has an architecture of that name, whatever its pretrained tag."""
    if name.startswith(TORCHVISION_PREFIX):
        return name.removeprefix(TORCHVISION_PREFIX) in torchvision_names()
    return is_model(name.partition(".")[0])


def _require_tag(name: str, tag: str) -> None:
    try:
        get_pretrained_cfg(f"{name}.{tag}")
    except RuntimeError as problem:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
        raise UnknownVariantError(f"pretrained tag of {name}", tag, tags) from problem


def torchvision_names() -> tuple[str, ...]:
    """Torchvision's classification models (not detection, segmentation, video, quantized)."""
    return tuple(torchvision_models.list_models(module=torchvision_models))


def create_model(
    base: BaseSpec, *, num_classes: int, tag: str | None = None, pretrained: bool = False
) -> nn.Module:
    """The model of an architecture, in eval mode, with a module wherever it pools.

    Args:
        base: Library, name, constructor arguments.
        num_classes: Outputs of the classifier.
        tag: timm's pretrained tag, for example ``a1_in1k``; None for its default.
        pretrained: Fetch the library's weights (needs a network, or its cache). torchvision's
            have 1000 classes.

    Raises:
        ArgumentError: The library refuses the arguments.
    """
    try:
        if base.library == "timm":
            name = f"{base.name}.{tag}" if tag else base.name
            model = timm.create_model(
                name, pretrained=pretrained, num_classes=num_classes, **base.arguments
            )
        else:
            weights = "DEFAULT" if pretrained else None
            arguments = dict(base.arguments)
            if transforms_input(base):
                arguments["init_weights"] = False
            if pretrained:  # torchvision refuses to leave out the heads of its weights
                arguments.pop(ARGUMENT, None)
            model = torchvision_models.get_model(
                base.name, weights=weights, num_classes=num_classes, **arguments
            )
            if not has_auxiliary(base):
                drop_auxiliary_(model)
    except (TypeError, ValueError) as problem:
        raise ArgumentError(
            f"{base.library} cannot build {base.name!r} with {base.arguments}.",
            reason=str(problem),
        ) from problem
    return install_pooling_slot(model).eval()


def default_pooling(base: BaseSpec) -> str | None:
    """Timm's word for how an architecture pools by default; None where it has none."""
    with torch.device("meta"):
        model = create_model(base, num_classes=2)
    if isinstance(getattr(model, "global_pool", None), str):
        return model.global_pool
    pooling = (m.pool_type for m in model.modules() if isinstance(m, SelectAdaptivePool2d))
    return next(pooling, None)


def default_input(base: BaseSpec, tag: str | None = None) -> InputSpec:
    """The images that the library's own weights of an architecture were trained on."""
    if base.library == "timm":
        config = get_pretrained_cfg(f"{base.name}.{tag}" if tag else base.name)
        if config is None:
            return InputSpec()
        images = config_input(config)
        said = {"channels": base.arguments.get("in_chans"), "size": _arguments_size(base)}
        return images.model_copy(update={k: v for k, v in said.items() if v is not None})
    return preset_input(torchvision_models.get_model_weights(base.name).DEFAULT.transforms())


def config_input(config: PretrainedCfg) -> InputSpec:
    """The images of a timm configuration of weights."""
    channels, height, width = config.input_size
    return InputSpec(
        channels=channels,
        size=(height, width),
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation or "bilinear",
        crop_pct=config.crop_pct or 0.875,
        crop_mode=config.crop_mode or "center",
    )


def preset_input(preset: ImageClassification) -> InputSpec:
    """The images of torchvision's transforms for weights."""
    size = preset.crop_size[0]
    return InputSpec(
        size=(size, size),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        crop_pct=min(1.0, size / preset.resize_size[0]),
    )


def default_name(base: BaseSpec) -> str:
    """The weights whose images `default_input` describes, in words."""
    if base.library == "torchvision":
        return f"torchvision's {base.name}"
    config = get_pretrained_cfg(base.name)
    tag = f".{config.tag}" if config is not None and config.tag else ""
    return f"timm's {base.name}{tag}"


def fixed_size(base: BaseSpec) -> tuple[int, int] | None:
    """(height, width) of an architecture that takes images of one size only; None for others."""
    size = _arguments_size(base)
    if size is not None or base.library != "timm":
        return size
    config = get_pretrained_cfg(base.name)
    return config.input_size[1:] if config is not None and config.fixed_input_size else None


def _arguments_size(base: BaseSpec) -> tuple[int, int] | None:
    size = base.arguments.get("img_size")
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else tuple(size)


def _near_names(name: str) -> tuple[str, ...]:
    near = get_close_matches(name, timm.list_models(), n=8, cutoff=0.5)
    return tuple(near) or ("see timm.list_models()",)
