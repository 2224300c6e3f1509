"""Models by name, with the weights that their library publishes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import timm
from pydantic import ValidationError
from timm.models import get_pretrained_cfg, load_model_config_from_hf
from torch import nn

from covtool.backbones.auxiliary import (
    drop_auxiliary_,
    has_auxiliary,
    transforms_input,
    without_auxiliary,
)
from covtool.backbones.create import create_model, create_skeleton, parse_name
from covtool.backbones.hub_problems import reason_on_hub, status_of
from covtool.backbones.library_input import default_input
from covtool.backbones.model_size import require_room, tensor_bytes
from covtool.backbones.names import HUB_PREFIX
from covtool.backbones.slots import install_pooling_slot
from covtool.backbones.weights import load_tensors_
from covtool.errors import ArgumentError, CheckpointError
from covtool.printable import printable
from covtool.specs import BaseSpec, InputSpec
from covtool.specs.problems import first_problem

IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model, what it was made from, and the images that its weights were trained on.

    Attributes:
        model: In eval mode.
        base: Its architecture.
        num_classes: Outputs of its classifier.
        input: The images it expects.
        fresh_classifier: Whether the classifier starts at random, though weights were fetched.
        class_names: Names of its outputs, where a hub's configuration has them.
    """

    model: nn.Module
    base: BaseSpec
    num_classes: int
    input: InputSpec
    fresh_classifier: bool
    class_names: tuple[str, ...] | None = None


def model_by_name(name: str, *, num_classes: int | None, pretrained: bool) -> NamedModel:
    """Return the model of a name of timm, torchvision or the hub (``hf-hub:ORG/NAME``).

    Args:
        name: The name.
        num_classes: Outputs of the classifier; None for those of the published weights.
        pretrained: Fetch the weights, from the network or the library's cache.

    Raises:
        UnknownVariantError: No library has the name.
        CheckpointError: The weights cannot be fetched.
    """
    if name.startswith(HUB_PREFIX):
        return _from_hub(name, num_classes, pretrained)
    base, tag = parse_name(name)
    base = without_auxiliary(base)
    # torchvision sets it itself for its own weights; a file has to be built the same way again.
    if pretrained and transforms_input(base):
        arguments = {**base.arguments, "transform_input": True}
        base = base.model_copy(update={"arguments": arguments})
    published = _published_classes(base, tag)
    classes = num_classes or published or IMAGENET_CLASSES
    # torchvision refuses weights of another number of classes; timm makes a new classifier.
    if pretrained and base.library == "torchvision" and classes != published:
        model = _with_new_classifier(name, base, classes)
    else:
        model = _fetched(
            name,
            lambda: create_model(base, num_classes=classes, tag=tag, pretrained=pretrained),
        )
    return NamedModel(
        model=model,
        base=base,
        num_classes=classes,
        input=default_input(base, tag),
        fresh_classifier=pretrained and classes != published,
    )


def _published_classes(base: BaseSpec, tag: str | None) -> int:
    if base.library == "torchvision":
        return IMAGENET_CLASSES
    config = get_pretrained_cfg(f"{base.name}.{tag}" if tag else base.name)
    return config.num_classes if config is not None else IMAGENET_CLASSES


def _with_new_classifier(name: str, base: BaseSpec, classes: int) -> nn.Module:
    source = _fetched(
        name, lambda: create_model(base, num_classes=IMAGENET_CLASSES, pretrained=True)
    ).state_dict()
    model = create_model(base, num_classes=classes)
    own = model.state_dict()
    load_tensors_(model, {k: t if t.shape == own[k].shape else own[k] for k, t in source.items()})
    return model


def _from_hub(name: str, num_classes: int | None, pretrained: bool) -> NamedModel:
    identifier = name.removeprefix(HUB_PREFIX)
    config, architecture, arguments = _fetched(name, lambda: load_model_config_from_hf(identifier))[
        :3
    ]
    arguments = dict(arguments or {})
    published = arguments.pop("num_classes", config.get("num_classes")) or 0
    classes = num_classes or published or IMAGENET_CLASSES
    base = BaseSpec(library="timm", name=architecture, arguments=arguments)
    # The configuration is another's: it could ask for a model of any size.
    skeleton = create_skeleton(base, num_classes=classes)
    require_room(name, tensor_bytes(skeleton))
    model = _fetched(
        name, lambda: timm.create_model(name, pretrained=pretrained, num_classes=classes)
    )
    if has_auxiliary(base):
        drop_auxiliary_(model)
        base = without_auxiliary(base)
    return NamedModel(
        model=install_pooling_slot(model).eval(),
        base=base,
        num_classes=classes,
        input=_input_of(config, default_input(base)),
        fresh_classifier=pretrained and classes != published,
        class_names=_names_of(config, classes) if pretrained else None,
    )


def _names_of(config: dict[str, Any], classes: int) -> tuple[str, ...] | None:
    listed = config.get("label_names")
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return None
    # ImageNet has two cranes: names that are not distinct cannot match outputs to labels.
    return tuple(listed) if len(set(listed)) == len(listed) == classes else None


def _input_of(config: dict[str, Any], default: InputSpec) -> InputSpec:
    """Return the images of a hub's configuration; the architecture's own where it is silent."""
    stated = {key: config[key] for key in InputSpec.model_fields if config.get(key) is not None}
    if config.get("input_size"):
        stated["channels"], *size = config["input_size"]
        stated["size"] = tuple(size)
    try:
        return InputSpec.model_validate({**default.model_dump(), **stated})
    except ValidationError as problem:
        raise CheckpointError(
            "The configuration of its images is not valid.", reason=first_problem(problem)
        ) from problem


def _fetched(name: str, fetch: Callable[[], Any]) -> Any:
    """Return what `fetch` returns; failures of the network say what to do instead."""
    try:
        return fetch()
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError) as problem:  # a name that no repository can have
        # create_model turns a library's errors into its own; behind it may be a failed download.
        cause = problem.__cause__ if isinstance(problem, ArgumentError) else problem
        if isinstance(problem, ArgumentError) and not isinstance(cause, OSError | URLError):
            raise
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise CheckpointError(
            f"The weights of {printable(name)} cannot be fetched.",
            reason=printable(first) if status_of(cause) is None else reason_on_hub(cause),
            hint="Without a network: download the file elsewhere and pass its path. For random "
            "weights: --from-scratch.",
        ) from problem
