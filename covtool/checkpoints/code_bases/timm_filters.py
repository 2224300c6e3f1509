"""timm's own conversions, tried on a file: Meta's ConvNeXt, DINOv2, Microsoft's Swin, ..."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from covtool.backbones.architectures import load_index
from covtool.backbones.checkpoint_filters import filter_module, filtered_checkpoint
from covtool.backbones.fingerprint import is_relevant
from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.code_bases.code_base import Tensors

MAX_CANDIDATES = 8
PER_MODULE = 2  # they share a conversion; the limit leaves tries for other modules
_PLAUSIBLE = 0.6  # share of the tensors whose shape the architecture has as well

_VISUAL = "visual."


def timm_filtered(tensors: Tensors, architecture_name: str) -> Mapping[str, Tensor] | None:
    """Return the tensors as timm's own conversion of an architecture gives them.

    Args:
        tensors: Under the file's own names. Left as they are.
        architecture_name: timm's name; a pretrained tag is left aside.

    Returns:
        None where timm has no conversion, it fails on these tensors, it changes no name, or it
        drops a bias that is not zero (of an architecture that differs from its twin by biases).
    """
    found = filtered_checkpoint(architecture_name.partition(".")[0], tensors)
    relevant = [name for name in tensors if is_relevant(name)]
    if found is None or [name for name in found if is_relevant(name)] == relevant:
        return None
    return None if _loses_a_bias(tensors, found) else found


def _loses_a_bias(tensors: Tensors, found: Tensors) -> bool:
    """Return whether a layer keeps its weight and loses its bias, but not by a split (q_bias)."""
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        is_lost = leaf == "bias" and name not in found and f"{module}.weight" in found
        if is_lost and f"{module.rpartition('.')[0]}.q_bias" not in found and bool(tensor.any()):
            return True
    return False


def timm_arguments(tensors: Tensors) -> dict[str, str]:
    """Return the arguments of timm's constructor that a file implies which timm converts.

    Meta's DINOv3 is read at its class token; timm's architectures pool the patches by default.
    """
    is_dinov3 = any(name.rpartition(".")[2] == "storage_tokens" for name in tensors)
    return {"global_pool": "token"} if is_dinov3 else {}


def timm_candidates(
    tensors: Tensors, named: Iterable[str] = ()
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield architectures whose conversion may be the right one, each with the tensors it gives.

    First those that the file names, then the ones that share most shapes of tensors with the file,
    at most `PER_MODULE` of a module and `MAX_CANDIDATES` in all: each builds a network (without its
    weights), which takes up to a second.
    """
    names = dict.fromkeys(name.partition(".")[0] for name in named)
    names.update(dict.fromkeys(_nearest(load_index(), tensors)))
    for name in names:
        found = timm_filtered(tensors, name)
        if found is not None:
            yield name, found


def _nearest(index: ArchitectureIndex, tensors: Tensors) -> Iterator[str]:
    """Yield timm's architectures with a conversion, those with most shapes in common first."""
    visual = [name for name in tensors if _VISUAL in name]  # beside a tower for texts
    own = Counter(tuple(tensors[name].shape) for name in visual or tensors if is_relevant(name))
    scores = []
    for row, architecture in enumerate(index.architectures):
        if architecture.library == "timm" and len(index.row_pairs(row)):
            scores.append((_similarity(own, index, row), architecture.name))
    scores.sort(key=lambda pair: (-pair[0], pair[1]))
    taken: Counter[str] = Counter()
    for score, name in scores:
        if score < _PLAUSIBLE or sum(taken.values()) == MAX_CANDIDATES:
            return
        module = filter_module(name)
        if module is not None and taken[module] < PER_MODULE:
            taken[module] += 1
            yield name


def _similarity(own: Counter, index: ArchitectureIndex, row: int) -> float:
    """Return the Dice coefficient of two collections of shapes: 2 · common / (one + other)."""
    shapes = Counter(index.shapes[n] for n in index.pair_shapes[index.row_pairs(row)].tolist())
    total = own.total() + shapes.total()
    common = sum(min(count, own[shape]) for shape, count in shapes.items())
    return 2 * common / total if total else 0.0
