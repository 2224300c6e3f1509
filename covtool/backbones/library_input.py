"""Images that a library's own weights were trained on."""

from timm.models import PretrainedCfg, get_pretrained_cfg
from torchvision import models as torchvision_models
from torchvision.transforms._presets import ImageClassification

from covtool.backbones.image_size import arguments_size
from covtool.specs import BaseSpec, InputSpec


def default_input(base: BaseSpec, tag: str | None = None) -> InputSpec:
    """Return the images that the library's own weights of an architecture were trained on."""
    if base.library == "timm":
        config = get_pretrained_cfg(f"{base.name}.{tag}" if tag else base.name)
        if config is None:
            return InputSpec()
        images = config_input(config)
        stated = {"channels": base.arguments.get("in_chans"), "size": arguments_size(base)}
        return images.model_copy(update={k: v for k, v in stated.items() if v is not None})
    return preset_input(torchvision_models.get_model_weights(base.name).DEFAULT.transforms())


def config_input(config: PretrainedCfg) -> InputSpec:
    """Return the images of a timm configuration of weights."""
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
    """Return the images of torchvision's transforms for weights."""
    size = preset.crop_size[0]
    return InputSpec(
        # torchvision's transforms resize the short side, then crop a square of this side.
        size=(size, size),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        crop_pct=min(1.0, size / preset.resize_size[0]),
    )


def default_name(base: BaseSpec) -> str:
    """Return the weights whose images `default_input` describes, in words."""
    if base.library == "torchvision":
        return f"torchvision's {base.name}"
    config = get_pretrained_cfg(base.name)
    tag = f".{config.tag}" if config is not None and config.tag else ""
    return f"timm's {base.name}{tag}"
