"""Parameters in groups with a learning rate and a weight decay each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from covtool.errors import ArgumentError
from covtool.specs import TrainingSpec
from covtool.training.parts.head import ClassifierHead


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters that are trained alike.

    Attributes:
        part: ``head`` or ``backbone``.
        names: Names of the parameters.
        num_parameters: Number of elements in them.
        lr_scale: Learning rate as a multiple of the schedule's (timm's word).
        lr: Learning rate at the top of the schedule.
        weight_decay: Weight decay; 0 for biases, norms and what the model exempts.
    """

    part: str
    names: tuple[str, ...]
    num_parameters: int
    lr_scale: float
    lr: float
    weight_decay: float


def plan_parameter_groups(
    model: nn.Module, head: ClassifierHead, training: TrainingSpec
) -> tuple[ParameterGroup, ...]:
    """Sort the parameters that require a gradient into groups.

    timm says which have no weight decay, and what `layer_decay` does to their learning rate; the
    head's is multiplied by `head_multiplier` on top.

    Raises:
        ArgumentError: `layer_decay` is asked of a model whose layers have no order.
    """
    settings = {id(p): key for key, group in _timm_groups(model, training) for p in group}
    sorted_names: dict[tuple[str, float, float], list[str]] = defaultdict(list)
    sizes: dict[tuple[str, float, float], int] = defaultdict(int)
    # By identity: timm groups the parameters themselves, without their names.
    for name, parameter in model.named_parameters():
        if id(parameter) not in settings:
            continue
        scale, decay = settings[id(parameter)]
        part = "head" if head.holds(name) else "backbone"
        key = (part, scale * (training.head_multiplier if part == "head" else 1.0), decay)
        sorted_names[key].append(name)
        sizes[key] += parameter.numel()
    return tuple(
        ParameterGroup(
            part=part,
            names=tuple(names),
            num_parameters=sizes[part, scale, decay],
            lr_scale=scale,
            lr=training.peak_lr * scale,
            weight_decay=decay,
        )
        for (part, scale, decay), names in sorted_names.items()
    )


def optimizer_groups(
    model: nn.Module, groups: Sequence[ParameterGroup], lr: float
) -> list[dict[str, Any]]:
    """Return the groups as torch's optimizers and timm's schedulers take them."""
    parameters = dict(model.named_parameters())
    return [
        {
            "params": [parameters[name] for name in group.names],
            "lr": lr,
            "lr_scale": group.lr_scale,
            "weight_decay": group.weight_decay,
        }
        for group in groups
    ]


def _timm_groups(
    model: nn.Module, training: TrainingSpec
) -> list[tuple[tuple[float, float], list[nn.Parameter]]]:
    """Return ((lr scale, weight decay), parameters) as timm groups them."""
    # Position embeddings and the like, by the model's own word.
    exempt = getattr(model, "no_weight_decay", set)()
    if training.layer_decay is None:
        groups = param_groups_weight_decay(
            model, weight_decay=training.weight_decay, no_weight_decay_list=exempt
        )
    elif not hasattr(model, "group_matcher"):
        raise ArgumentError(
            f"--layer-decay needs the order of the layers, and {type(model).__name__} has none.",
            hint="timm's models have one; torchvision's do not.",
        )
    else:
        groups = param_groups_layer_decay(
            model,
            weight_decay=training.weight_decay,
            no_weight_decay_list=exempt,
            layer_decay=training.layer_decay,
        )
    return [((g.get("lr_scale", 1.0), g["weight_decay"]), g["params"]) for g in groups]
