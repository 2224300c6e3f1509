"""The feature maps of a network that are worth a comparison."""

from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from covtool.backbones.feature_maps import FeatureMap
from covtool.backbones.sites import Sites
from covtool.errors import UnknownVariantError
from covtool.specs.comparing import ALL, AUTO

_STAGES = 2


def choose_taps(model: nn.Module, sites: Sites, asked: Sequence[str]) -> tuple[FeatureMap, ...]:
    """Return the feature maps that are asked for, each once.

    Args:
        model: The network.
        sites: Its sites.
        asked: Paths of modules, `AUTO` and `ALL`.

    Returns:
        For `AUTO` the default map, the one before the last 1x1 convolution or projection, and the
        last ones of the last two resolutions before it. For `ALL` every map of several positions
        on the way to the pooling. What a network lacks of the paths is left out.
    """
    found = {m.path: m for word in asked for m in _maps(model, sites, word)}
    return tuple(found.values())


def unknown_taps(
    every: Iterable[tuple[nn.Module, Sites]], asked: Sequence[str]
) -> Iterator[UnknownVariantError]:
    """Yield an error for each path that none of several networks has.

    Args:
        every: The networks with their sites.
        asked: Paths of modules, `AUTO` and `ALL`.
    """
    networks = list(every)
    for word in asked:
        if not any(list(_maps(model, sites, word)) for model, sites in networks):
            taps = dict.fromkeys(m.path for _, sites in networks for m in sites.taps)
            yield UnknownVariantError("feature map", word, (AUTO, ALL, *taps))


def _maps(model: nn.Module, sites: Sites, word: str) -> Iterator[FeatureMap]:
    if word == AUTO:
        yield from _auto(model, sites)
    elif word == ALL:
        yield from (m for m in reversed(sites.trunk) if m.positions > 1)
    else:
        try:
            yield sites.tap(word)
        except UnknownVariantError:
            return


def _auto(model: nn.Module, sites: Sites) -> Iterator[FeatureMap]:
    yield sites.default_tap
    before = sites.trunk[: _projection(model, sites.trunk)]
    if len(before) < len(sites.trunk):
        yield before[-1]
    # The last map of each number of positions, the last ones first.
    ends = {m.positions: m for m in before if m.positions > 1}
    yield from sorted(ends.values(), key=before.index, reverse=True)[:_STAGES]


def _projection(model: nn.Module, trunk: Sequence[FeatureMap]) -> int:
    """Return the index of the last projection of the last resolution; the length without one."""
    last = trunk[-1].positions
    found = (
        index
        for index in range(len(trunk) - 1, 0, -1)
        if trunk[index - 1].positions == last and _projects(model.get_submodule(trunk[index].path))
    )
    return next(found, len(trunk))


def _projects(module: nn.Module) -> bool:
    """Return whether a module mixes the channels of each position and does nothing else."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)
