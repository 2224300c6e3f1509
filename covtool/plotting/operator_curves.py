"""The functions of decoupled operators as lines: h over a patch's norm, g over its angle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ArgumentError
from covtool.ops.angular import ANGULAR_ACTIVATIONS, AngularRow
from covtool.ops.magnitudes import MAGNITUDES, MagnitudeRow
from covtool.registry import Registry, V
from covtool.specs.plotting import OperatorPlotSpec

RADII = 3
"""The largest norm that is drawn, in radii."""

_POINTS = 601
_ABOVE_ZERO = 1e-6
"""Smallest norm that is drawn, in radii: the sphere jumps at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A row of a table as a line.

    Attributes:
        name: Name in the table.
        label: Name and parameters.
        position: Position in the table, which decides the look of the line.
        x: Norm, or angle in radians; float64.
        y: h for α = 1, or g.
    """

    name: str
    label: str
    position: int
    x: Tensor
    y: Tensor


def magnitude_curves(spec: OperatorPlotSpec) -> list[Curve]:
    """Compute magnitudes h for α = 1, from just above 0 to 3 radii; none without that panel.

    Raises:
        UnknownVariantError: There is no magnitude of a name.
    """
    norm = torch.linspace(0, RADII, _POINTS, dtype=torch.float64) * spec.radius
    norm[0] = _ABOVE_ZERO * spec.radius
    radius = torch.tensor(spec.radius, dtype=norm.dtype)

    def curve(row: MagnitudeRow) -> Curve:
        beta = row.beta if spec.beta is None else spec.beta
        label = row.name if row.beta is None else f"{row.name}, β = {beta:g}"
        return Curve(
            name=row.name,
            label=label,
            position=MAGNITUDES.names.index(row.name),
            x=norm,
            y=row.function(norm, radius, beta or 0.0),
        )

    return [curve(row) for row in _magnitude_rows(spec)]


def angular_curves(spec: OperatorPlotSpec) -> list[Curve]:
    """Compute angular activations g from 0 to π; none without that panel.

    Raises:
        UnknownVariantError: There is no angular activation of a name.
    """
    theta = torch.linspace(0, math.pi, _POINTS, dtype=torch.float64)

    def curve(row: AngularRow) -> Curve:
        return Curve(
            name=row.name,
            label=f"{row.name}, k = {spec.k:g}" if row.takes_k else row.name,
            position=ANGULAR_ACTIVATIONS.names.index(row.name),
            x=theta,
            y=row.function(theta.cos(), spec.k),  # g takes the cosine, as a convolution has it
        )

    return [curve(row) for row in _angular_rows(spec)]


def refuse_unused(spec: OperatorPlotSpec) -> None:
    """Refuse settings that have no part in what would be drawn.

    Raises:
        ArgumentError: There is one, or a name is unknown.
    """
    magnitudes, angular = _magnitude_rows(spec), _angular_rows(spec)
    asked, default = spec.model_dump(), OperatorPlotSpec().model_dump()
    settings = [
        ("magnitudes", "--magnitude", bool(magnitudes)),
        ("angular", "--angular", bool(angular)),
        ("radius", "--radius", bool(magnitudes)),
        ("beta", "--beta", any(row.beta is not None for row in magnitudes)),
        ("k", "--k", any(row.takes_k for row in angular)),
    ]
    for name, flag, has_part in settings:
        if asked[name] != default[name] and not has_part:
            drawn = ", ".join(row.name for row in (*magnitudes, *angular))
            raise ArgumentError(f"{flag} has no part in a plot of {drawn}.")


def _magnitude_rows(spec: OperatorPlotSpec) -> list[MagnitudeRow]:
    rows = _rows(MAGNITUDES, spec.magnitudes)
    return rows if spec.panel != "g" else []


def _angular_rows(spec: OperatorPlotSpec) -> list[AngularRow]:
    rows = _rows(ANGULAR_ACTIVATIONS, spec.angular)
    return rows if spec.panel != "h" else []


def _rows(table: Registry[V], chosen: Sequence[str]) -> list[V]:
    return [table[name] for name in dict.fromkeys(chosen)] or list(table)
