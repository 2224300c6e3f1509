"""Size of the images that an architecture is built for by default."""

from functools import cache

from timm.models import get_pretrained_cfg, is_model
from torchvision import models as torchvision_models

Size = tuple[int, int]


@cache
def native_size(library: str, name: str) -> Size | None:
    """Height and width that an architecture is built for by default; None where nothing says."""
    if library == "timm":
        config = get_pretrained_cfg(name) if is_model(name) else None
        return tuple(config.input_size[1:]) if config is not None else None
    if not name.startswith("vit_"):
        return None
    size = torchvision_models.get_model_weights(name).DEFAULT.meta["min_size"]
    return tuple(size)
