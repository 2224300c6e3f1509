"""Replace the global pooling and the classifier of a model."""

from copy import deepcopy
from dataclasses import dataclass
from math import isqrt
from typing import cast

import torch
from torch import nn

from covtool.backbones.feature_maps import FeatureMap
from covtool.backbones.model_size import new_linear, without_weights
from covtool.backbones.sites import Sites, find_sites
from covtool.errors import SurgeryError
from covtool.layers.fused_pooling import fuse_second_order, keep_second_order
from covtool.layers.global_pooling import GlobalPooling
from covtool.layers.joint_pooling import JointPooling, release_taps
from covtool.specs import HeadSpec, InputSpec
from covtool.surgery.eigenlayer import eigenlayer_path
from covtool.surgery.head_pooling import (
    Pooling,
    catch_maps_,
    last_of,
    make_pooling,
    require_one_call,
    tapped_maps,
)
from covtool.surgery.module_types import module_at, update_attributes_
from covtool.surgery.options import refuse_untaken
from covtool.surgery.resetting import ReplacedHead, make_resettable_
from covtool.variants import HEADS

_HARMLESS = (nn.Flatten, nn.Identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """How `apply_head` will replace the pooling and the classifier of a model.

    Attributes:
        spec: The request, with the choices that it left open made.
        sites: Places where the model can be operated on.
        tap: The feature map that is pooled; of several the one nearest to the network's pooling.
        taps: All feature maps that are pooled, in the order of their features.
        bypassed: Modules that will do nothing any more: those after `tap`, and those between
            pooling and classifier that only first-order features need.
        carried: Modules between pooling and classifier that, with `fuse`, keep working on the
            first-order features and hand the others on.
        widened: Linear layer that is made anew for the pooled vector, where `hidden` is kept.
        pooled_features: Length of the new pooling's vector.
        in_features: Inputs of the new classifier.
        num_classes: Its outputs.
        keeps_classifier: Whether the old classifier's weights stay, with `fuse` beside zeros for
            the rest.
        rank: Largest possible rank of the covariance of `tap`; None for heads of another kind.
    """

    spec: HeadSpec
    sites: Sites
    tap: FeatureMap
    taps: tuple[FeatureMap, ...]
    bypassed: tuple[str, ...]
    carried: tuple[str, ...]
    widened: str | None
    pooled_features: int
    in_features: int
    num_classes: int
    keeps_classifier: bool
    rank: int | None

    def rank_of(self, tap: FeatureMap) -> int | None:
        """Return the largest possible rank of a map's covariance, or None as `rank` is."""
        return _rank(self.spec, tap)


def plan_head(
    model: nn.Module,
    spec: HeadSpec,
    images: InputSpec,
    *,
    num_classes: int | None = None,
    new_classes: bool = False,
    recorded: bool = False,
) -> HeadPlan:
    """Find where the head of `model` sits and check that it can be replaced.

    Args:
        model: Model that `covtool.backbones.create_model` returned. Left as it is.
        spec: The request.
        images: The images that the model expects.
        num_classes: Outputs of the new classifier; None for as many as now.
        new_classes: The classes mean something else, even if there are as many.
        recorded: `spec` is that of a recipe: every choice in it was made before.

    Raises:
        UnknownVariantError: There is no such head, or no such feature map.
        SurgeryError: The model has no place for it, or it has a covtool head already.
    """
    row = HEADS[spec.head]
    spec = spec.model_copy(update={"reduction": spec.reduction or row.reduction})
    sites = find_sites(model, images.size, images.channels)
    _refuse_second_head(model, sites)
    _check_options(spec)
    # Asked of the network only once: a skeleton on the meta device has no numbers to ask with.
    own = spec.own_average if recorded else _is_own_average(model, spec, sites)
    taps = (sites.trunk[-1],) if own else tapped_maps(sites, spec)
    paths = tuple(tap.path for tap in taps)
    spec = spec.model_copy(
        update={"tap": paths if len(paths) > 1 else paths[0], "own_average": own}
    )
    classes = num_classes or sites.num_classes
    same_classes = not new_classes and classes == sites.num_classes
    if own:
        return _plan_own_average(spec, sites, classes, keeps_classifier=same_classes)
    _check(spec, taps)
    if len(taps) > 1 and not recorded:
        require_one_call(model, taps, images)
    return _plan_pooling(model, spec, sites, taps, classes, keeps_classifier=same_classes)


def _plan_own_average(
    spec: HeadSpec, sites: Sites, num_classes: int, *, keeps_classifier: bool
) -> HeadPlan:
    """Plan a head that leaves the model's own average where it is."""
    return HeadPlan(
        spec=spec,
        sites=sites,
        tap=sites.trunk[-1],
        taps=(sites.trunk[-1],),
        bypassed=(),
        carried=(),
        widened=None,
        pooled_features=sites.in_features,
        in_features=sites.in_features,
        num_classes=num_classes,
        keeps_classifier=keeps_classifier,
        rank=None,
    )


def _plan_pooling(
    model: nn.Module,
    spec: HeadSpec,
    sites: Sites,
    taps: tuple[FeatureMap, ...],
    num_classes: int,
    *,
    keeps_classifier: bool,
) -> HeadPlan:
    """Plan a head with a pooling of covtool's, in place of the model's own or beside it."""
    tap = last_of(taps, sites)
    with without_weights():  # only its size is wanted
        pooling = make_pooling(spec, taps, tap)
    tail = _working(model, sites.tail)
    widened = _first_linear(model, tail) if spec.hidden == "keep" else None
    bypassed = (*sites.after(tap), *([] if widened else _without_last_dropout(model, tail)))
    inputs = sites.in_features if widened else pooling.num_features
    return HeadPlan(
        spec=spec,
        sites=sites,
        tap=tap,
        taps=taps,
        bypassed=() if spec.fuse else bypassed,
        carried=tail if spec.fuse else (),
        widened=widened,
        pooled_features=pooling.num_features,
        in_features=inputs + (sites.in_features if spec.fuse else 0),
        num_classes=num_classes,
        keeps_classifier=bool(spec.fuse) and keeps_classifier,
        rank=_rank(spec, tap),
    )


def apply_head(model: nn.Module, plan: HeadPlan) -> nn.Module:
    """Return a copy of `model` with the planned head; `model` itself is not changed.

    The new layers are initialized from torch's global random state.
    """
    operated = deepcopy(model)
    if plan.spec.own_average:
        if not plan.keeps_classifier:
            operated.set_submodule(plan.sites.classifier, _classifier(model, plan))
        return _finished(operated, model, plan)
    reaching = plan.sites.trunk[-1] if plan.spec.fuse else plan.tap
    pooling = make_pooling(plan.spec, plan.taps, reaching)
    old_pooling = operated.get_submodule(plan.sites.pooling)
    release_taps(operated, old_pooling)  # a head with a neck behind it, which the new one replaces
    catch_maps_(operated, pooling, plan.taps, reaching)
    if plan.spec.fuse:
        alone = isinstance(pooling, GlobalPooling) and plan.tap.path != reaching.path
        tapped = operated.get_submodule(plan.tap.path) if alone else None
        fuse_second_order(old_pooling, pooling, tapped=tapped)
        for path in plan.carried:
            keep_second_order(operated.get_submodule(path), plan.pooled_features)
    else:
        operated.set_submodule(plan.sites.pooling, pooling)
        for path in plan.bypassed:
            operated.set_submodule(path, nn.Identity())
    if plan.widened:
        old = module_at(operated, plan.widened, nn.Linear)
        new = new_linear(plan.pooled_features, old.out_features, bias=old.bias is not None)
        operated.set_submodule(plan.widened, new)
    operated.set_submodule(plan.sites.classifier, _classifier(model, plan))
    make_resettable_(operated, _replaced(model, plan))
    return _finished(operated, model, plan)


def pooling_of(model: nn.Module, plan: HeadPlan) -> Pooling | None:
    """Return the pooling that `apply_head` put into `model`; None where the own one stays."""
    if plan.spec.own_average:
        return None
    pooling = model.get_submodule(plan.sites.pooling)
    # By its type any module may be there; `apply_head` put this one.
    return cast("Pooling", pooling.second_order if plan.spec.fuse else pooling)


def branches_of(model: nn.Module, plan: HeadPlan) -> tuple[GlobalPooling, ...]:
    """Return the pooling of each tap that `apply_head` put into `model`, in their order."""
    pooling = pooling_of(model, plan)
    if isinstance(pooling, JointPooling):
        return tuple(cast("GlobalPooling", branch) for branch in pooling.branches)
    return () if pooling is None else (pooling,)


def _rank(spec: HeadSpec, tap: FeatureMap) -> int | None:
    if not HEADS[spec.head].centered:
        return None
    channels = tap.channels if spec.reduction == "none" else spec.dim
    # A covariance of N positions, whose mean is taken out, has a rank of N - 1 at most.
    return min(channels, tap.positions - 1)


def _classifier(model: nn.Module, plan: HeadPlan) -> nn.Linear:
    old = module_at(model, plan.sites.classifier, nn.Linear)
    new = new_linear(plan.in_features, plan.num_classes)
    if plan.keeps_classifier:
        with torch.no_grad():
            # Zeros for the new features: every logit is what it was, until training changes that.
            new.weight.zero_()
            new.weight[:, : old.in_features] = old.weight
            new.bias.zero_() if old.bias is None else new.bias.copy_(old.bias)
    return new


def _finished(operated: nn.Module, model: nn.Module, plan: HeadPlan) -> nn.Module:
    _tell_timm(operated, plan)
    reference = next(model.parameters())
    return operated.to(reference.device, reference.dtype).train(model.training)


def _replaced(model: nn.Module, plan: HeadPlan) -> ReplacedHead:
    tail = plan.sites.tail
    return ReplacedHead(
        pooling=plan.sites.pooling,
        classifier=plan.sites.classifier,
        in_features=plan.in_features,
        first_features=plan.sites.in_features,
        channels=plan.tap.channels,
        layout=plan.tap.layout,
        num_prefix_tokens=plan.tap.num_prefix_tokens,
        flattening=tuple(p for p in tail if isinstance(model.get_submodule(p), nn.Flatten)),
        carried=plan.carried,
        is_fused=bool(plan.spec.fuse),
        widened=plan.widened,
    )


def _is_own_average(model: nn.Module, spec: HeadSpec, sites: Sites) -> bool:
    """Return whether the average that is asked for is the one that the model takes already."""
    last = sites.trunk[-1]
    plain = spec.head == "gap" and spec.reduction == "none" and spec.hidden == "drop"
    whole = all(sites.tap(name).path == last.path for name in spec.taps) and len(spec.taps) < 2
    return plain and whole and _averages(model.get_submodule(sites.pooling), last)


def _averages(pooling: nn.Module, features: FeatureMap) -> bool:
    """Return whether a pooling is the mean over the positions, found out with random maps."""
    side = isqrt(features.positions)
    height, width = (side, side) if side**2 == features.positions else (1, features.positions)
    # A generator of its own: planning must not move the global one.
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, features.channels, height, width, generator=generator)
    if features.layout == "NLC":
        tokens = torch.randn(2, features.num_prefix_tokens, features.channels, generator=generator)
        given = torch.cat([tokens, maps.flatten(2).mT], dim=1)
    else:
        given = maps.permute(0, 2, 3, 1) if features.layout == "NHWC" else maps
    probe = deepcopy(pooling).cpu().float().eval()
    try:
        with torch.no_grad():
            pooled = probe(given)
    except (RuntimeError, AssertionError, ValueError):
        return False
    mean = maps.mean(dim=(2, 3))
    return pooled.numel() == mean.numel() and torch.allclose(pooled.flatten(1), mean, atol=1e-5)


def _refuse_second_head(model: nn.Module, sites: Sites) -> None:
    pooling = model.get_submodule(sites.pooling)
    # A fused head leaves the model's own pooling there, with the other one inside.
    if isinstance(pooling, Pooling) or hasattr(pooling, "second_order"):
        raise SurgeryError(
            f"{sites.pooling!r} is a covtool head already.",
            hint="Start from the checkpoint that this file was converted from.",
        )
    if (eigenlayer := eigenlayer_path(model)) is not None:
        raise SurgeryError(
            f"A new head would leave nothing of the Eigenlayer {eigenlayer!r}.",
            hint="Start from the checkpoint that this file was converted from, with both: "
            "--head NAME --eigenlayer K.",
        )


def _check_options(spec: HeadSpec) -> None:
    row = HEADS[spec.head]
    if spec.fuse and "fuse" not in row.options:
        raise SurgeryError(
            f"--fuse {spec.fuse} keeps the averages beside another head, "
            f"but --head {spec.head} is the average itself.",
            hint="Leave --fuse out, or choose another head.",
        )
    refuse_untaken("--head", row, spec, HEADS)


def _check(spec: HeadSpec, taps: tuple[FeatureMap, ...]) -> None:
    tap = min(taps, key=lambda tap: tap.positions)
    if HEADS[spec.head].centered and tap.positions == 1:
        raise SurgeryError(
            f"The feature map {tap.path!r} has one position, and one position has no covariance.",
            hint="Use larger images (--img-size), --last-stride 1, or an earlier map (--tap).",
        )
    if spec.fuse and spec.hidden == "keep":
        raise SurgeryError(
            "--fuse keeps the layers between pooling and classifier as they are, "
            "--hidden keep makes the first one anew.",
            hint="Choose one of them.",
        )
    tap = min(taps, key=lambda tap: tap.channels)
    if spec.reduction != "none" and spec.dim > tap.channels:
        raise SurgeryError(
            f"--dim {spec.dim} is more than the {tap.channels} channels of {tap.path!r}.",
            reason="A reduction to more channels than there are adds columns, but no rank.",
            hint=f"Choose --dim {tap.channels} or less, or --reduction none.",
        )


def _working(model: nn.Module, tail: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(p for p in tail if not isinstance(model.get_submodule(p), nn.Identity))


def _first_linear(model: nn.Module, tail: tuple[str, ...]) -> str:
    found = next((p for p in tail if isinstance(model.get_submodule(p), nn.Linear)), None)
    if found is None:
        raise SurgeryError(
            f"{type(model).__name__} has no linear layer between pooling and classifier to keep.",
            hint="Leave --hidden out.",
        )
    return found


def _without_last_dropout(model: nn.Module, tail: tuple[str, ...]) -> tuple[str, ...]:
    """Return all of a tail that goes: not what only flattens, and not the last dropout."""
    # The last dropout is the classifier's, and as useful to the new one.
    dropouts = [p for p in tail if isinstance(model.get_submodule(p), nn.Dropout)]
    kept = set(dropouts[-1:]) | {p for p in tail if isinstance(model.get_submodule(p), _HARMLESS)}
    return tuple(p for p in tail if p not in kept)


def _tell_timm(model: nn.Module, plan: HeadPlan) -> None:
    # timm's names for the outputs, and for the length of what enters the classifier.
    update_attributes_(model, num_classes=plan.num_classes, head_hidden_size=plan.in_features)
    if not plan.spec.fuse and plan.bypassed:
        update_attributes_(model, num_features=plan.tap.channels)  # of what reaches the pooling now
