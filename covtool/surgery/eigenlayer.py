"""Put an Eigenlayer between the pooled features and the classifier of a model."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.backbones.model_size import new_linear
from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError
from covtool.layers.eigenlayer import EigenClassifier, Eigenlayer
from covtool.specs import EigenlayerSpec, InputSpec
from covtool.surgery.module_types import module_at

PUBLISHED_FEATURES = 1024  # SVDNet's, of the 2048 of a ResNet-50
RANK_TOLERANCE = 1e-6  # of the largest singular value of the classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class EigenlayerPlan:
    """How `apply_eigenlayer` will change a model.

    Attributes:
        spec: The request.
        classifier: Path of the linear layer that gets an Eigenlayer in front of it.
        in_features: Length of the pooled vector.
        num_classes: Outputs of the classifier.
        keeps_logits: Whether every logit stays as it is.
    """

    spec: EigenlayerSpec
    classifier: str
    in_features: int
    num_classes: int
    keeps_logits: bool


def plan_eigenlayer(model: nn.Module, spec: EigenlayerSpec, images: InputSpec) -> EigenlayerPlan:
    """Find the classifier and check that there is room for an Eigenlayer.

    Args:
        model: Model with any head. Left as it is.
        spec: The request.
        images: The images that the model expects.

    Raises:
        SurgeryError: The model has no linear classifier, has an Eigenlayer already, or has fewer
            features than the Eigenlayer would have vectors.
    """
    if (path := eigenlayer_path(model)) is not None:
        raise SurgeryError(
            f"{path!r} is an Eigenlayer already.",
            hint="Start from the checkpoint that this file was converted from.",
        )
    sites = find_sites(model, images.size, images.channels)
    if spec.features > sites.in_features:
        raise SurgeryError(
            f"--eigenlayer {spec.features} is more than the {sites.in_features} features that "
            "enter the classifier.",
            reason=f"{spec.features} weight vectors of {sites.in_features} numbers have rank "
            f"{sites.in_features} at most: they cannot be orthogonal to each other.",
            hint=f"Choose --eigenlayer {sites.in_features} or less.",
        )
    weight = module_at(model, sites.classifier, nn.Linear).weight
    return EigenlayerPlan(
        spec=spec,
        classifier=sites.classifier,
        in_features=sites.in_features,
        num_classes=sites.num_classes,
        keeps_logits=_has_values(weight) and spec.init == "keep" and _rank(weight) <= spec.features,
    )


def apply_eigenlayer(model: nn.Module, plan: EigenlayerPlan) -> nn.Module:
    """Return a copy of `model` with the planned Eigenlayer; `model` itself is not changed.

    With ``keep`` its weight vectors are the principal directions of the classifier's own, completed
    to an orthonormal set at random, and the classifier is expressed in them: as close to the old
    logits as so many vectors allow, equal where they are as many as the classifier's rank. With
    ``random`` both layers start from torch's global random state, as `nn.Linear` does.
    """
    operated = deepcopy(model)
    old = module_at(operated, plan.classifier, nn.Linear)
    eigenlayer = Eigenlayer(plan.in_features, plan.spec.features)
    classifier = new_linear(plan.spec.features, plan.num_classes, bias=old.bias is not None)
    if plan.spec.init == "keep" and _has_values(old.weight):
        _keep_(eigenlayer, classifier, old)
    # As a module of its own in the classifier's place: timm's get_classifier still finds it.
    together = EigenClassifier(eigenlayer, classifier).to(old.weight.device, old.weight.dtype)
    operated.set_submodule(plan.classifier, together.train(old.training))
    return operated


def eigenlayer_path(model: nn.Module) -> str | None:
    """Return the path of a model's Eigenlayer; None where it has none."""
    return next((path for path, m in model.named_modules() if isinstance(m, Eigenlayer)), None)


def fitting_features(model: nn.Module) -> int:
    """Return how many weight vectors an Eigenlayer of a model may have: the paper's, or fewer.

    As many as there are features where these are fewer: more cannot be orthogonal.
    """
    inputs = [module.in_features for module in model.modules() if isinstance(module, nn.Linear)]
    return min([PUBLISHED_FEATURES, *inputs[-1:]])


def eigen_classifier(model: nn.Module) -> EigenClassifier:
    """Return the Eigenlayer and the classifier of a model.

    Raises:
        SurgeryError: It has no Eigenlayer.
    """
    found = next((m for m in model.modules() if isinstance(m, EigenClassifier)), None)
    if found is None:
        raise SurgeryError(
            f"{type(model).__name__} has no Eigenlayer.",
            hint=f"Put one in: covtool convert MODEL --eigenlayer {fitting_features(model)}.",
        )
    return found


@torch.no_grad()
def _keep_(eigenlayer: Eigenlayer, classifier: nn.Linear, old: nn.Linear) -> None:
    # On the CPU and in float64, so that a GPU starts from the same vectors.
    exact = old.weight.cpu().double()
    rows = _orthonormal(exact, eigenlayer.out_features)
    eigenlayer.weight.copy_(rows)
    classifier.weight.copy_(exact @ rows.mT)
    if old.bias is not None:
        classifier.bias.copy_(old.bias)


def _orthonormal(weight: Tensor, count: int) -> Tensor:
    """Return the first `count` right singular vectors, and random ones where there are fewer."""
    right = torch.linalg.svd(weight, full_matrices=False)[2][: min(count, _rank(weight))]
    others = torch.randn(count - len(right), weight.shape[1], dtype=weight.dtype)
    others -= others @ right.mT @ right
    basis = torch.linalg.qr(torch.cat([right, others]).mT)[0].mT
    # The directions themselves, not QR's: it may turn their signs.
    return torch.cat([right, basis[len(right) :]])


def _has_values(weight: Tensor) -> bool:
    """Return whether there is anything to keep: on the meta device there is none."""
    return not weight.is_meta


def _rank(weight: Tensor) -> int:
    values = torch.linalg.svdvals(weight.detach().cpu().double())
    return int((values > RANK_TOLERANCE * values[0]).sum())
