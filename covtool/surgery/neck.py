"""Put a neck between the pooling and the classifier of a model."""

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from covtool.backbones.model_size import new_linear
from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError
from covtool.layers.neck import Neck, NeckPooling
from covtool.specs import InputSpec, NeckSpec
from covtool.surgery.eigenlayer import eigenlayer_path
from covtool.surgery.module_types import module_at, update_attributes_


@dataclass(frozen=True, slots=True, kw_only=True)
class NeckPlan:
    """How `apply_neck` will change a model.

    Attributes:
        spec: The request.
        pooling: Path of the pooling that gets a neck behind it.
        classifier: Path of the linear layer that is made anew.
        in_features: Length of the pooled vector.
        num_classes: Outputs of the classifier.
    """

    spec: NeckSpec
    pooling: str
    classifier: str
    in_features: int
    num_classes: int


def plan_neck(model: nn.Module, spec: NeckSpec, images: InputSpec) -> NeckPlan:
    """Find the pooling and the classifier, and check that there is room for a neck.

    Args:
        model: Model with any head. Left as it is.
        spec: The request.
        images: The images that the model expects.

    Raises:
        SurgeryError: The model has no place for it, has a neck or an Eigenlayer already, or the
            spec gives no length of its linear layer.
    """
    for path, what in ((neck_path(model), "a neck"), (eigenlayer_path(model), "an Eigenlayer")):
        if path is not None:
            raise SurgeryError(
                f"{path!r} is {what} already.",
                hint="Start from the checkpoint that this file was converted from.",
            )
    if (spec.features is None) == any(layer.startswith("linear") for layer in spec.layers):
        raise SurgeryError(
            "A neck with a linear layer needs the number of its features, and only such a neck.",
            reason=f"Its layers are {', '.join(spec.layers)}, its features {spec.features}.",
        )
    sites = find_sites(model, images.size, images.channels)
    return NeckPlan(
        spec=spec,
        pooling=sites.pooling,
        classifier=sites.classifier,
        in_features=sites.in_features,
        num_classes=sites.num_classes,
    )


def apply_neck(model: nn.Module, plan: NeckPlan) -> nn.Module:
    """Return a copy of `model` with the planned neck and a new classifier; `model` is not changed.

    The new layers are initialized from torch's global random state.
    """
    operated = deepcopy(model)
    reference = module_at(operated, plan.classifier, nn.Linear).weight
    neck = Neck(plan.in_features, plan.spec.layers, plan.spec.features)
    # Behind the pooling, not in front of the classifier: forward_head(pre_logits=True) gives the
    # neck's output then, which is the descriptor.
    pooling = NeckPooling(operated.get_submodule(plan.pooling), neck)
    classifier = new_linear(neck.num_features, plan.num_classes, bias=plan.spec.classifier_bias)
    operated.set_submodule(plan.pooling, pooling)
    operated.set_submodule(plan.classifier, classifier)
    # timm's name for the length of what forward_head(pre_logits=True) gives.
    update_attributes_(operated, head_hidden_size=neck.num_features)
    return operated.to(reference.device, reference.dtype).train(model.training)


def neck_path(model: nn.Module) -> str | None:
    """Return the path of a model's neck; None where it has none."""
    return next((path for path, m in model.named_modules() if isinstance(m, Neck)), None)
