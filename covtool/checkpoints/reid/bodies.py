"""The backbone of a re-identification network among timm's architectures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from covtool.backbones.architectures import load_index
from covtool.backbones.names import TORCHVISION_PREFIX
from covtool.checkpoints.bodies import whole_bodies
from covtool.checkpoints.matching import RGB, Candidate
from covtool.specs import BaseSpec

Shape = tuple[int, ...]

_HALVES = re.compile(r"\.(IN|BN)\.(?=weight$|bias$|running_mean$|running_var$)")
_OWN_HEADS = ("fc.",)  # what a backbone kept of its ImageNet classifier, and does not use
_POSITIONS = "pos_embed"
_USUAL_GRID = 14 * 14 + 1  # patches of 16 pixels of an image of 224, and the class token
_GRIDS = (  # height, width and stride of published configurations: no two give as many positions
    (256, 128, 16),
    (256, 256, 16),
    (384, 128, 16),
    (384, 192, 16),
    (224, 224, 16),
    (256, 128, 12),
    (256, 256, 12),
    (384, 128, 12),
    (256, 128, 14),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A backbone that was recognized.

    Attributes:
        base: Its architecture.
        tensors: Tensors under its names, without what it does not use.
        ibn_layers: Batch norms of which one half is an instance norm.
        size: Height and width of the images that its positions are for; None without any.
        patch_stride: Step from patch to patch in pixels; None where it is the size of a patch.
    """

    base: BaseSpec
    tensors: Mapping[str, Tensor]
    ibn_layers: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    patch_stride: int | None = None


def find_body(state: Mapping[str, Tensor], *, arch: str | None, named: str | None) -> Body | None:
    """Return the architecture with exactly these tensors, apart from its classifier.

    Args:
        state: Tensors under the architecture's names; IBN-Net's halves under theirs.
        arch: Required architecture, as ``--arch`` takes it; None for any of timm's.
        named: Architecture that the file names: preferred.
    """
    tensors = {n: t for n, t in state.items() if not n.startswith(_OWN_HEADS)}
    whole, halved = _joined_halves({n: tuple(t.shape) for n, t in tensors.items()})
    grid = _grid_of(whole) if _POSITIONS in whole else None
    if _POSITIONS in whole:
        if grid is None:
            return None
        # The index knows each architecture at its usual size only.
        whole[_POSITIONS] = (1, _USUAL_GRID, whole[_POSITIONS][-1])
    counted = ((n, shape) for n, shape in whole.items() if not n.endswith("num_batches_tracked"))
    candidates = whole_bodies(load_index(), tuple(counted))
    chosen = _chosen(candidates, arch, named)
    if chosen is None:
        return None
    return Body(
        base=_base(chosen, grid),
        tensors=tensors,
        ibn_layers=halved,
        size=grid[:2] if grid else None,
        patch_stride=grid[2] if grid and grid[2] != 16 else None,
    )


def _joined_halves(shapes: Mapping[str, Shape]) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Return shapes with IBN-Net's pairs of norms as one batch norm, and the names of those."""
    whole = {name: shape for name, shape in shapes.items() if not _HALVES.search(name)}
    halved: dict[str, None] = {}
    for name in shapes:
        if name.endswith(".BN.weight"):
            layer = name.removesuffix(".BN.weight")
            first, second = shapes.get(f"{layer}.IN.weight", (0,))[0], shapes[name][0]
            # IBN-Net gives the instance norm half of the channels, rounded down.
            if second - first not in (0, 1):
                continue
            halved[layer] = None
            leaves = ("weight", "bias", "running_mean", "running_var")
            whole |= {f"{layer}.{leaf}": (first + second,) for leaf in leaves}
    return whole, tuple(halved)


def _grid_of(shapes: Mapping[str, Shape]) -> tuple[int, int, int] | None:
    """Return height, width and stride that give so many positions; None where no known ones do."""
    patch = shapes.get("patch_embed.proj.weight", (0, 0, 0, 0))[-1]
    positions = shapes[_POSITIONS]
    if patch != 16 or len(positions) != 3:
        return None

    def patches(height: int, width: int, stride: int) -> int:
        return ((height - patch) // stride + 1) * ((width - patch) // stride + 1)

    return next((grid for grid in _GRIDS if patches(*grid) + 1 == positions[1]), None)


def _chosen(candidates: list[Candidate], arch: str | None, named: str | None) -> Candidate | None:
    """Return the candidate that is named, by the user or the file; else the one named shortest."""
    usable = [c for c in candidates if c.in_channels in (None, RGB)]
    if arch is not None:
        wanted = arch if arch.startswith(TORCHVISION_PREFIX) else arch.partition(".")[0]
        return next((c for c in usable if c.name == wanted), None)
    usable = [c for c in usable if c.architecture.library == "timm"]
    return min(usable, key=lambda c: (c.name != named, len(c.name), c.name), default=None)


def _base(candidate: Candidate, grid: tuple[int, int, int] | None) -> BaseSpec:
    architecture = candidate.architecture
    arguments = dict(architecture.arguments)
    if grid is not None:
        arguments["img_size"] = list(grid[:2])
    return BaseSpec(library=architecture.library, name=architecture.name, arguments=arguments)
