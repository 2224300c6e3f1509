"""Linear layers of a file as classifiers of the architectures that it may be of."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from covtool.backbones.create import create_skeleton
from covtool.backbones.fingerprint import Architecture, Shape
from covtool.checkpoints.beside import Linear, between, linear_classifiers
from covtool.checkpoints.matching import Candidate, Named
from covtool.printable import printable
from covtool.specs import BaseSpec


def with_linear(candidate: Candidate, linear: Linear, module: str) -> Candidate:
    """Return the candidate with a linear layer of the file as its classifier."""
    pairs = [(f"{linear.module}.weight", f"{module}.weight")]
    notes = candidate.notes
    if linear.has_bias:
        pairs.append((f"{linear.module}.bias", f"{module}.bias"))
    else:
        notes = (*notes, f"The classifier {printable(linear.module)} has no bias: it is 0.")
    taken = {own for own, _ in pairs}
    return replace(
        candidate,
        num_classes=linear.weight[0],
        classifier=tuple(pairs),
        classifiers=(),
        unused=tuple(name for name in candidate.unused if name not in taken),
        notes=notes,
    )


def with_linear_beside(candidate: Candidate, outside: Named) -> Candidate:
    """Return a candidate without classifier with the one linear layer outside its prefix."""
    expected = expected_head(candidate.architecture)
    weights = [name for name in expected if name.endswith(".weight")]
    if candidate.num_classes is not None or len(weights) != 1:
        return candidate
    beside = dict(outside)
    roots = {name: name.partition(".")[0] for name in beside}
    in_features = expected[weights[0]][1]
    found = linear_classifiers(beside, in_features, roots)
    doubts = between(beside, in_features, roots, found)
    if found and doubts:
        return replace(candidate, doubted=(found[0].module, doubts[0]))
    candidate = replace(candidate, unused=(*candidate.unused, *beside))
    if len(found) != 1:
        return replace(candidate, classifiers=tuple(linear.module for linear in found))
    return with_linear(candidate, found[0], weights[0].removesuffix(".weight"))


def with_named_classifier(
    candidate: Candidate, asked: str, shapes: Mapping[str, Shape]
) -> Candidate | None:
    """Return the candidate with a layer of the file as classifier; None if it does not fit.

    Args:
        candidate: Architecture that was found.
        asked: The layer's name in the file.
        shapes: Shapes of all tensors of the file.
    """
    expected = dict(expected_head(candidate.architecture))
    weights = [name for name in expected if name.endswith(".weight")]
    own = shapes.get(f"{asked}.weight", ())
    if len(weights) != 1 or len(own) < 2 or own[1] != expected[weights[0]][1]:
        return None
    # Whoever names the layer has settled the doubt.
    linear = Linear(module=asked, weight=own, has_bias=f"{asked}.bias" in shapes)
    return with_linear(replace(candidate, doubted=None), linear, weights[0].removesuffix(".weight"))


# All candidates of a file ask for theirs, and a network has to be built for each.
@lru_cache(maxsize=256)
def _built_head(library: str, name: str, classifiers: tuple[str, ...]) -> tuple:
    base = BaseSpec(library=library, name=name)
    # Any number of classes does: only the inputs of the classifier are compared.
    state = create_skeleton(base, num_classes=2).state_dict()
    heads = tuple(f"{module}." for module in classifiers)
    return tuple((n, tuple(t.shape)) for n, t in state.items() if n.startswith(heads))


def expected_head(architecture: Architecture) -> dict[str, Shape]:
    """Return the classifier of an architecture that is stored without one."""
    if len(architecture.classifiers) != 1:
        return {}
    return dict(_built_head(architecture.library, architecture.name, architecture.classifiers))
