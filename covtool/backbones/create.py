"""Names of architectures become models. timm and torchvision look alike from here on."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import timm
from timm.layers import SelectAdaptivePool2d
from timm.models import get_pretrained_cfg, is_model
from torch import nn
from torchvision import models as torchvision_models

from covtool.backbones.auxiliary import (
    ARGUMENT,
    drop_auxiliary_,
    has_auxiliary,
    transforms_input,
)
from covtool.backbones.model_size import (
    MOST_CALLS,
    TooManyCallsError,
    on_meta,
    require_room,
    tensor_bytes,
    without_weights,
)
from covtool.backbones.names import TORCHVISION_PREFIX, near_names, parts_of
from covtool.backbones.slots import install_pooling_slot
from covtool.errors import ArgumentError, UnknownVariantError, reason_of
from covtool.specs import BaseSpec
from covtool.specs.base_arguments import base_problem
from covtool.specs.problems import shown

_ARGUMENTS_HINT = "covtool builds timm's and torchvision's classifiers, of bounded sizes."


def parse_name(name: str) -> tuple[BaseSpec, str | None]:
    """Return the architecture and the pretrained tag of a name.

    Args:
        name: ``resnet50.a1_in1k``, ``torchvision:resnet50``.

    Raises:
        UnknownVariantError: Neither library has it; near names are suggested.
    """
    library, short, tag = parts_of(name, InstalledNames())
    return BaseSpec(library=library, name=short), tag


def is_architecture(name: str) -> bool:
    """Return whether a library has an architecture of that name, whatever its pretrained tag."""
    if name.startswith(TORCHVISION_PREFIX):
        return name.removeprefix(TORCHVISION_PREFIX) in torchvision_names()
    return is_model(name.partition(".")[0])


def torchvision_names() -> tuple[str, ...]:
    """Return torchvision's classification models (no detection, segmentation, video, quantized)."""
    return tuple(torchvision_models.list_models(module=torchvision_models))


class InstalledNames:
    """The names of the installed libraries; see `covtool.backbones.names.KnownNames`."""

    def timm(self) -> Sequence[str]:
        return timm.list_models()

    def torchvision(self) -> Sequence[str]:
        return torchvision_names()

    def is_timm(self, name: str) -> bool:
        return is_model(name)

    def has_tag(self, name: str, tag: str) -> bool:
        try:
            get_pretrained_cfg(f"{name}.{tag}")
        except RuntimeError:
            return False
        return True

    def tags(self, name: str) -> Sequence[str]:
        return [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]


def create_model(
    base: BaseSpec,
    *,
    num_classes: int,
    tag: str | None = None,
    pretrained: bool = False,
    counted: bool = False,
) -> nn.Module:
    """Return the model of an architecture, in eval mode, with a module wherever it pools.

    Args:
        base: Library, name, constructor arguments.
        num_classes: Outputs of the classifier.
        tag: timm's pretrained tag, for example ``a1_in1k``; None for its default.
        pretrained: Fetch the library's weights (needs a network, or its cache). torchvision's
            have 1000 classes.
        counted: The caller has looked at its size; else it is counted before memory is taken.

    Raises:
        ArgumentError: The library refuses the arguments, or they are not in the table of
            `covtool.specs.base_arguments`.
        CheckpointError: The model is larger than the limit of `covtool.model_limit`.
        UnknownVariantError: The library has no classifier of that name.
    """
    # Before memory is taken: a name or an argument may ask for more than there is.
    if not counted:
        skeleton = create_skeleton(base, num_classes=num_classes)
        require_room(f"{base.library}'s {base.name}", tensor_bytes(skeleton))
    if pretrained:
        return _finished(_fetched(base, num_classes, tag))
    return _finished(_built(base, num_classes, tag))


def create_skeleton(base: BaseSpec, *, num_classes: int) -> nn.Module:
    """Return the model of an architecture on the meta device, without memory for weights.

    Raises:
        ArgumentError: As `create_model`.
    """
    _require_buildable(base)
    try:
        with without_weights(most_calls=MOST_CALLS):
            return _finished(_built(base, num_classes, None))
    # Some constructors read values, which the meta device has not: then with values, once more.
    except ArgumentError as problem:
        if isinstance(problem.__cause__, TooManyCallsError):
            raise
        with without_weights(values=True, most_calls=MOST_CALLS):
            return on_meta(_finished(_built(base, num_classes, None)))


def _require_buildable(base: BaseSpec) -> None:
    problem = base_problem(base.library, base.name, base.arguments)
    if problem is not None:
        raise ArgumentError(f"{problem}.", hint=_ARGUMENTS_HINT)
    if base.library == "timm":
        if not is_model(base.name):
            near = near_names(base.name, InstalledNames())
            raise UnknownVariantError("architecture", base.name, near)
    elif base.name not in torchvision_names():
        raise UnknownVariantError(
            "torchvision classification model", base.name, torchvision_names()
        )


def _built(base: BaseSpec, num_classes: int, tag: str | None) -> nn.Module:
    """Return a model with random weights; any error of a constructor is about its arguments."""
    try:
        with quietly():
            if base.library == "timm":
                return _of_timm(base, num_classes, tag, pretrained=False)
            return _of_torchvision(base, num_classes, None, base.arguments)
    # Not about the arguments: the command line has words of its own for it.
    except MemoryError:
        raise
    except Exception as problem:
        raise _not_built(base, problem) from problem


def _fetched(base: BaseSpec, num_classes: int, tag: str | None) -> nn.Module:
    """Return a model with the library's weights; failures of the network are the caller's."""
    try:
        if base.library == "timm":
            return _of_timm(base, num_classes, tag, pretrained=True)
        # torchvision refuses to leave out the heads of its weights
        arguments = {name: value for name, value in base.arguments.items() if name != ARGUMENT}
        return _of_torchvision(base, num_classes, "DEFAULT", arguments)
    except (TypeError, ValueError) as problem:
        raise _not_built(base, problem) from problem


def _of_timm(base: BaseSpec, num_classes: int, tag: str | None, *, pretrained: bool) -> nn.Module:
    name = f"{base.name}.{tag}" if tag else base.name
    return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **base.arguments)


def _of_torchvision(
    base: BaseSpec, num_classes: int, weights: str | None, arguments: Mapping[str, Any]
) -> nn.Module:
    # Their truncated normals are slow, and other weights are loaded over them anyway.
    slow = {"init_weights": False} if transforms_input(base) else {}
    model = torchvision_models.get_model(
        base.name, weights=weights, num_classes=num_classes, **arguments, **slow
    )
    # torchvision keeps them for its own weights, whatever the argument says.
    if not has_auxiliary(base):
        drop_auxiliary_(model)
    return model


def _finished(model: nn.Module) -> nn.Module:
    return install_pooling_slot(model).eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Silence timm: it warns about names that it has renamed, and logs what it cannot do."""
    # The caller may have disabled some levels already: they stay so.
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _not_built(base: BaseSpec, problem: Exception) -> ArgumentError:
    arguments = ", ".join(f"{name}={shown(value)}" for name, value in base.arguments.items())
    return ArgumentError(
        f"{base.library} cannot build {base.name!r} with {arguments or 'no arguments'}.",
        reason=reason_of(problem),
    )


def default_pooling(base: BaseSpec) -> str | None:
    """Return timm's word for how an architecture pools by default; None where it has none."""
    model = create_skeleton(base, num_classes=2)
    if isinstance(getattr(model, "global_pool", None), str):
        return model.global_pool
    pooling = (m.pool_type for m in model.modules() if isinstance(m, SelectAdaptivePool2d))
    return next(pooling, None)
