"""Replace convolutions by other operators that keep their weights."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from covtool.backbones.convolutions import ConvSite, find_convolutions, select
from covtool.errors import SurgeryError
from covtool.layers.conv_operator import ConvOperator
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.filters import WEIGHTINGS
from covtool.specs import ConvolutionSpec, InputSpec, as_flag
from covtool.surgery.module_types import module_at, replace_
from covtool.surgery.options import changed_options, refuse_untaken
from covtool.variants import CONVOLUTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionsPlan:
    """How `apply_convolutions` will change a model.

    Attributes:
        spec: The request, with the choices that it left open made.
        layers: The convolutions that become operators.
        left: Path and reason of those that were chosen by a wildcard but cannot.
    """

    spec: ConvolutionSpec
    layers: tuple[ConvSite, ...]
    left: tuple[tuple[str, str], ...]

    @property
    def operator(self) -> str:
        """The operator that they become, in a few words."""
        return CONVOLUTIONS[self.spec.conv].layer.describe(self.spec)


def plan_convolutions(
    model: nn.Module, spec: ConvolutionSpec, images: InputSpec, *, recorded: bool = False
) -> ConvolutionsPlan:
    """Choose the convolutions and check that each can become the operator.

    Args:
        model: Model that `covtool.backbones.create_model` returned. Left as it is.
        spec: The request; with `layers`, exactly these are taken.
        images: The images that the model expects.
        recorded: `spec` was written by covtool: options without an effect do no harm.

    Raises:
        UnknownVariantError: There is no such operator.
        ArgumentError: A target fits nothing.
        SurgeryError: No convolution is left, one is an operator already or of an unknown class, or
            an option has no effect.
    """
    row = CONVOLUTIONS[spec.conv]
    # Options without an effect do no harm in a recipe, and every recipe stays readable.
    if not recorded:
        _check_options(spec)
    sites = find_convolutions(model, images.size, images.channels)
    chosen: Sequence[ConvSite]
    if spec.layers is not None:
        chosen = _by_name(sites, spec.layers)
    else:
        chosen = select(sites, spec.target, spec.exclude)
    fitting: list[ConvSite] = []
    left: list[tuple[str, str]] = []
    for site in chosen:
        conv = module_at(model, site.path, nn.Conv2d)
        problem = _problem(conv, row.layer)
        if problem is None:
            fitting.append(site)
        # A wildcard may meet what cannot be converted; a layer that was named must be.
        elif isinstance(conv, ConvOperator) or _is_named(site, spec):
            raise SurgeryError(f"{site.path}: {problem.message}", hint=problem.hint)
        else:
            left.append((site.path, problem.message))
    if not fitting:
        raise _nothing(model, sites, left)
    spec = _completed(spec, tuple(site.path for site in fitting))
    return ConvolutionsPlan(spec=spec, layers=tuple(fitting), left=tuple(left))


def apply_convolutions(model: nn.Module, plan: ConvolutionsPlan) -> nn.Module:
    """Return a copy of `model` with the planned operators; `model` itself is not changed."""
    operated = deepcopy(model)
    layer = CONVOLUTIONS[plan.spec.conv].layer
    # Listed before anything is replaced, with every name of a module.
    names = list(operated.named_modules(remove_duplicate=False))
    for site in plan.layers:
        conv = module_at(operated, site.path, nn.Conv2d)
        operator = layer.from_conv(conv, plan.spec)
        for path, module in names:
            if module is conv:  # a shared convolution has several names
                replace_(operated, path, operator)
    return operated


def _problem(conv: nn.Conv2d, layer: type[ConvOperator]) -> SurgeryError | None:
    if isinstance(conv, ConvOperator):
        return SurgeryError(
            f"it is an operator already: {conv.operator}.",
            hint="Start from the checkpoint that this file was converted from, or choose other "
            "layers with --target and --exclude.",
        )
    try:
        layer.kind_for(conv)
    except SurgeryError as problem:
        return problem
    return None


def _is_named(site: ConvSite, spec: ConvolutionSpec) -> bool:
    return site.path in (*spec.target, *(spec.layers or ()))


def _by_name(sites: tuple[ConvSite, ...], layers: tuple[str, ...]) -> list[ConvSite]:
    known = {site.path: site for site in sites}
    missing = [path for path in layers if path not in known]
    if missing:
        raise SurgeryError(
            f"{len(missing)} of the {len(layers)} convolutions of the recipe are not in this "
            f"model: {', '.join(missing[:4])}.",
            hint="Take 'layers' out of the recipe to choose by its target again.",
        )
    return [known[path] for path in layers]


def _nothing(
    model: nn.Module, sites: tuple[ConvSite, ...], left: list[tuple[str, str]]
) -> SurgeryError:
    reason = left[0][1] if left else None
    if not sites:
        reason = "It runs no convolution at all."
    elif not left:
        reason = f"It has {len(sites)}, but they are stem or shortcuts, or excluded."
    return SurgeryError(
        f"No convolution of {type(model).__name__} can be chosen.",
        reason=reason,
        hint="Choose others: --target all, or a name with wildcards; exclude fewer."
        if sites
        else None,
    )


def _completed(spec: ConvolutionSpec, layers: tuple[str, ...]) -> ConvolutionSpec:
    """Return the defaults that depend on calibration, worked out."""
    values: dict[str, object] = {"layers": layers}
    if spec.scale_per is None:
        values["scale_per"] = "filter" if spec.calibrated else "layer"
    if spec.unit is None and "unit" in CONVOLUTIONS[spec.conv].options:
        values["unit"] = "none" if spec.calibrated else "running-mean"
    return spec.model_copy(update=values)


def _check_options(spec: ConvolutionSpec) -> None:
    refuse_untaken("--conv", CONVOLUTIONS[spec.conv], spec, CONVOLUTIONS)
    (
        ANGULAR_ACTIVATIONS[spec.angular],
        WEIGHTINGS[spec.weighting],
    )  # refused before any layer is made
    changed = changed_options(spec)
    only_sigmoid = "The other angular activations have no k."
    no_norm = "With another weighting the norm of a filter is part of what it answers."
    for name, needed, has, reason in (
        ("k", "--angular sigmoid", spec.angular == "sigmoid", only_sigmoid),
        ("weighted_gradients", "--weighting none", spec.weighting == "none", no_norm),
        ("weight_projection", "--weighting none", spec.weighting == "none", no_norm),
        ("projection_norm", "--weight-projection", spec.weight_projection > 0, None),
    ):
        if name in changed and not has:
            raise SurgeryError(
                f"{as_flag(name)} goes with {needed} only.",
                reason=reason,
                hint=f"Leave it out, or add {needed}.",
            )
    for name in ("radius", "scale"):
        if name in changed and spec.calibrated:
            raise SurgeryError(
                f"{as_flag(name)} has no effect with --calibrate, which measures it.",
                hint="Leave one of them out; --radius-quantile says where the radius lies.",
            )
