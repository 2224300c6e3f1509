"""The text of an mmengine configuration, read as a syntax tree and never run."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from covtool.backbones.published_names import known_architecture
from covtool.checkpoints.metadata import values
from covtool.checkpoints.metadata.statements import Statement

NAMES = {
    "ResNet": "resnet{depth}",
    "ResNetV1c": "resnet{depth}c",
    "ResNetV1d": "resnet{depth}d",
    "ResNeXt": "resnext{depth}_{groups}x{width_per_group}d",
    "VGG": "vgg{depth}",
    "MobileNetV2": "mobilenetv2_100",
}
"""timm's names of OpenMMLab's networks, by their arguments."""

_PIPELINES = ("test_pipeline", "val_pipeline")
_LOADERS = ("test_dataloader", "val_dataloader", "test", "val")
_LONGEST = 2**20
_LONGEST_NAME = 200


def read_mm_config(where: str, text: str) -> Statement | None:
    """Return architecture and images of a configuration's text; None where it is none.

    Assignments of literals, lists and calls of ``dict`` are read; anything else is left out.
    """
    if len(text) > _LONGEST or "=" not in text:
        return None
    # The parser raises the last two on brackets that are nested a few thousand deep.
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    config = {
        target.id: _value(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return read_mm_entries(where, config)


def read_mm_entries(where: str, config: Mapping[str, Any]) -> Statement | None:
    """Return architecture and images of a configuration that is a mapping already."""
    images, flips = _statistics(config)
    images |= _pipeline_images(config)
    problem = values.statistics_problem(images)
    problems = [f"Mean and std are not used: {problem} ({where})."] if problem else []
    if problem:
        images = {name: v for name, v in images.items() if name not in ("mean", "std")}
    if not flips:
        problems.append(values.bgr_problem(where))
    statement = Statement(
        where=where,
        architecture=_architecture(config),
        input=images,
        problems=tuple(problems),
    )
    return statement if statement else None


def _value(node: ast.expr) -> Any:
    """Return a literal, or what is made of literals; None where code would have to run."""
    match node:
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_value(item) for item in node.elts]
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {k.value: _value(v) for k, v in pairs if isinstance(k, ast.Constant)}
        case ast.Call(func=ast.Name(id="dict")):
            return {k.arg: _value(k.value) for k in node.keywords if k.arg}
    return None


def _statistics(config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return mean and deviation, and whether the images become RGB."""
    for mapping in _mappings(config):
        mean, std = values.as_numbers(mapping.get("mean")), values.as_numbers(mapping.get("std"))
        if mean and std and len(mean) == len(std):
            # Images are read as BGR and turned by default; gray ones have no order of colors.
            flips = mapping.get("to_rgb", mapping.get("bgr_to_rgb", True))
            return values.as_unit_statistics(mean, std), bool(flips) or len(mean) != 3
    return {}, True


def _pipeline_images(config: Mapping[str, Any]) -> dict[str, Any]:
    steps = {
        step["type"]: step
        for step in _pipeline(config)
        if isinstance(step, Mapping) and isinstance(step.get("type"), str)
    }
    resize = steps.get("ResizeEdge") or steps.get("Resize") or {}
    size = values.as_size((steps.get("CenterCrop") or {}).get("crop_size"))
    scale = resize.get("scale", resize.get("size"))
    short = values.as_count(scale[0] if isinstance(scale, list) and scale else scale)
    images: dict[str, Any] = {}
    if size:
        images["size"] = size
        if short:
            images["crop_pct"] = min(1.0, min(size) / short)
    # Without a crop, the resized image is used whole.
    elif short:
        images |= {"size": values.as_size(scale) or (short, short), "crop_pct": 1.0}
        images["crop_mode"] = "squash" if "Resize" in steps else "center"
    resampling = values.as_filter(resize.get("interpolation", "bilinear"))
    return images | ({"interpolation": resampling} if images and resampling else {})


def _pipeline(config: Mapping[str, Any]) -> list[Any]:
    for name in _PIPELINES:
        if isinstance(config.get(name), list):
            return config[name]
    for name in _LOADERS:
        inside = config.get(name)
        for mapping in _mappings(inside) if isinstance(inside, Mapping) else ():
            if isinstance(mapping.get("pipeline"), list):
                return mapping["pipeline"]
    return []


def _mappings(value: Any, seen: set[int] | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield a value and all that is in it, as far as they are mappings; each of them once."""
    seen = set() if seen is None else seen
    if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        yield value
    for inside in value.values() if isinstance(value, Mapping) else value:
        yield from _mappings(inside, seen)


def _architecture(config: Mapping[str, Any]) -> str | None:
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    if not isinstance(backbone, Mapping):
        return None
    pattern = NAMES.get(str(backbone.get("type")).rpartition(".")[2])
    if pattern is None:
        return None
    defaults = {"groups": 32, "width_per_group": 4}  # of MMPretrain's ResNeXt
    try:
        name = pattern.format(**{**defaults, **{str(k): v for k, v in backbone.items()}})
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    # A depth in the file may be a text of any length.
    return known_architecture(name) if len(name) <= _LONGEST_NAME else None
