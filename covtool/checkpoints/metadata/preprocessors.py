"""Images as transformers' and OpenCLIP's configurations describe them."""

import math
from collections.abc import Mapping
from typing import Any

from covtool.backbones import channel_statistics
from covtool.checkpoints.metadata import values
from covtool.checkpoints.metadata.statements import Statement
from covtool.printable import printable

_LARGEST_CROPPED = 384  # ConvNeXt's: images of this side and more are squashed, not cropped
_CONVNEXT_CROP = _LEVIT_CROP = 224 / 256
# Kinds whose size, where it is one number, is that of the shorter side; elsewhere it is of both.
_SHORTEST_EDGE = ("clip", "levit", "bit", "mobilenet", "poolformer", "efficientformer")
_RESIZE_MODES = {"shortest": "center", "squash": "squash", "longest": "border"}


def read_preprocessor(where: str, config: Mapping[str, Any]) -> Statement | None:
    """Return what transformers' ``preprocessor_config.json`` says.

    Rescaling by another factor than 1/255, or not at all, and EfficientNet's offset are taken into
    mean and deviation.
    """
    inside = config.get("image_processor")
    config = _without_objects(inside if isinstance(inside, Mapping) else config)
    images = _geometry(config)
    resampling = values.as_filter(config.get("resample"))
    if resampling:
        images["interpolation"] = resampling
    statistics, problem = _statistics(config)
    problems = [f"Mean and std are not used: {problem} ({where})."] if problem else []
    if config.get("do_flip_channel_order"):
        problems.append(values.bgr_problem(where))
    if config.get("resample") is not None and not resampling:
        problems.append(f"The filter {printable(repr(config['resample']))} is not used ({where}).")
    if statistics and not problem:
        images |= statistics
    statement = Statement(where=where, input=images, problems=tuple(problems))
    return statement if statement else None


def _without_objects(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that JSON could hold: a configuration inside a file may have others."""
    kinds = str | int | float | list | tuple | Mapping | None
    return {key: value for key, value in config.items() if isinstance(value, kinds)}


def _geometry(config: Mapping[str, Any]) -> dict[str, Any]:
    # Older files give one number as the size, whose meaning depends on the kind of processor.
    size, crop = config.get("size"), config.get("crop_size")
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    kind = kind.lower()
    if config.get("do_resize") is False:
        cropped = values.as_size(crop) if config.get("do_center_crop") else None
        return {"size": cropped} if cropped else {}
    shortest = _shortest_edge(size, kind, crops=bool(config.get("do_center_crop")))
    share = values.as_share(config.get("crop_pct"))
    if kind.startswith("convnext") and shortest:
        return _of_convnext(shortest, share)
    resized = (shortest, shortest) if shortest else values.as_size(size)
    mode = "center" if shortest else "squash"
    if resized is None:
        return {}
    if not config.get("do_center_crop"):
        return {"size": resized, "crop_pct": 1.0, "crop_mode": mode}
    kept = values.as_size(crop) or resized
    # LeViT's processor enlarges the size itself, by 256/224.
    enlarged = _LEVIT_CROP if kind.startswith("levit") and shortest else share or 1.0
    return {
        "size": kept,
        "crop_pct": min(enlarged * min(kept) / min(resized), 2.0),
        "crop_mode": mode,
    }


def _shortest_edge(size: Any, kind: str, *, crops: bool) -> int | None:
    """Return the length of the shorter side after resizing; None where both sides are given."""
    if isinstance(size, Mapping):
        return values.as_count(size.get("shortest_edge"))
    by_shorter_side = kind.startswith(("convnext", *_SHORTEST_EDGE)) and (
        crops or kind.startswith("convnext")
    )
    return values.as_count(size) if by_shorter_side else None


def _of_convnext(side: int, share: float | None) -> dict[str, Any]:
    if side >= _LARGEST_CROPPED:
        return {"size": (side, side), "crop_pct": 1.0, "crop_mode": "squash"}
    return {"size": (side, side), "crop_pct": share or _CONVNEXT_CROP, "crop_mode": "center"}


def _statistics(
    config: Mapping[str, Any],
) -> tuple[dict[str, tuple[float, ...]], str | None]:
    mean, std = (values.as_numbers(config.get(f"image_{name}")) for name in ("mean", "std"))
    normalizes = config.get("do_normalize", mean is not None or std is not None)
    if not normalizes and not {"do_rescale", "do_normalize", "do_flip_channel_order"} & set(config):
        return {}, None
    if not normalizes:
        mean, std = (0.0,), (1.0,)
    if mean is None or std is None or len(mean) != len(std):
        return {}, "one of them is missing, or has another length"
    if normalizes and config.get("include_top"):  # EfficientNet's divides by the deviation twice
        std = tuple(value * value for value in std)
    factor = 1 / values.PIXEL_LEVELS
    if config.get("do_rescale") is False:
        factor = 1.0
    elif config.get("rescale_factor") is not None:
        factor = values.as_number(config["rescale_factor"]) or factor
    offset = 1.0 if config.get("rescale_offset") and config.get("do_rescale") is not False else 0.0
    scale = values.PIXEL_LEVELS * factor
    # 1/255 is written with more or fewer digits: then the numbers stay exactly as they are.
    if math.isclose(scale, 1.0, rel_tol=1e-4):
        scale = 1.0
    statistics = {
        "mean": tuple((value + offset) / scale for value in mean),
        "std": tuple(value / scale for value in std),
    }
    return statistics, values.statistics_problem(statistics)


def read_open_clip(where: str, config: Mapping[str, Any]) -> Statement | None:
    """Return what OpenCLIP's ``open_clip_config.json`` says; what is left out is OpenAI's."""
    model = config.get("model_cfg")
    vision = model.get("vision_cfg") if isinstance(model, Mapping) else None
    if not isinstance(vision, Mapping):
        return None
    steps = config.get("preprocess_cfg")
    steps = steps if isinstance(steps, Mapping) else {}
    size = values.as_size(steps.get("size")) or values.as_size(vision.get("image_size"))
    images = {
        "mean": values.as_numbers(steps.get("mean")) or channel_statistics.OPENAI_CLIP[0],
        "std": values.as_numbers(steps.get("std")) or channel_statistics.OPENAI_CLIP[1],
        "interpolation": values.as_filter(steps.get("interpolation")) or "bicubic",
        "crop_mode": _RESIZE_MODES.get(str(steps.get("resize_mode")), "center"),
        "crop_pct": 1.0,
    }
    problem = values.statistics_problem(images)
    if problem:
        images = {k: v for k, v in images.items() if k not in ("mean", "std")}
    name = vision.get("timm_model_name")
    return Statement(
        where=where,
        architecture=name if isinstance(name, str) else None,
        input=images | ({"size": size} if size else {}),
        problems=(f"Mean and std are not used: {problem} ({where}).",) if problem else (),
    )
