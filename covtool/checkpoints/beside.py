"""Tensors beside a network's body: its classifier under another name, and what belongs elsewhere.

What stands inside a module of the body, or under a name that is none of the usual ones of heads,
losses and projectors and not behind the body, may change what the network computes: then it is
another network.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from covtool.backbones.fingerprint import Shape

# Needed in training only: whatever the network answers, these have no part in it.
_HARMLESS = re.compile(
    r"(?:^|[._])(?:loss\w*|crit\w*|queue\w*|memory\w*|bank|metrics?|\w*acc|accuracy|f1\w*|auroc|confmat"
    r"|precision|recall|decoder\w*|mask_tokens?|predictors?|projectors?|projection\w*|proj_head"
    r"|project_head|prototypes?|centers?|teacher\w*|momentum\w*|encoder_k|target_\w+|aux\w*"
    r"|AuxLogits|steps?|n_averaged|iterations?|num_updates|epoch|ema\w*|temperature"
    r"|logit_scale|logit_bias|total_ops|total_params)(?:[._]|$)"
)

# Heads, which stand behind the body even where a file has lost the order of its tensors.
_HEADS = re.compile(
    r"(?:heads?\w*|\w*_heads?|classifiers?\w*|fcs?\d*|fc_(?!norm)\w+|\w+_fc|linears?\d*|last_linear|logits|cls(?:\d*|_head\w*|_scores?|_preds?)"
    r"|bottleneck\w*|necks?\w*|bnneck\w*|mlp\w*|output\w*|out|dense\d*|embedding\w*|proj|predict\w*"
    r"|classif\w*|margin\w*|arc\w*|product)"
)

# A linear layer of these is no classifier, though its inputs may fit.
_NO_CLASSIFIER = re.compile(
    r"(?:^|[._])(?:queue\w*|memory\w*|proj\w*|predict(?:or|ion)s?|prototypes?|centers?|embed\w*|decoder\w*"
    r"|bottleneck\w*|neck\w*|loss\w*|crit\w*|margin\w*|arc\w*|cos\w*|sphere\w*|circle\w*|product|reduction"
    r"|rot\w*|aux\w*|AuxLogits|mlp\w*|teacher\w*|momentum\w*|q|k|v|qkv)(?:[._]|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A linear layer whose inputs are a network's features.

    Attributes:
        module: Its name in the file.
        weight: Shape of its weight.
        has_bias: Whether it has one.
    """

    module: str
    weight: Shape
    has_bias: bool


def another_network(
    names: Sequence[str], body: Collection[str], classifiers: Collection[str], *, ordered: bool
) -> list[str]:
    """The tensors that speak against a body: they may be a part of what the network computes.

    Args:
        names: Of all tensors behind the body's prefix, in the order of the file.
        body: Those of the body.
        classifiers: Modules of the architecture that give the classes; what stands below one of
            them is a head of the file's own.
        ordered: Whether the file keeps the order of the model. Then unknown names behind the body
            are heads.
    """
    own = {name.partition(".")[0] for name in body}
    heads = tuple(f"{module}." for module in classifiers)
    last = max(position for position, name in enumerate(names) if name in body)
    return [
        name
        for position, name in enumerate(names)
        if name not in body
        and not name.startswith(heads)
        and (_top(name) in own or not (_is_beside(name) or (ordered and position > last)))
    ]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_beside(name: str) -> bool:
    return bool(_HARMLESS.search(name) or _HEADS.fullmatch(_top(name)))


def linear_classifiers(
    beside: Mapping[str, Shape], in_features: int, roots: Mapping[str, str]
) -> list[Linear]:
    """Linear layers among the tensors beside a body that can be its classifier, each alone.

    A layer is alone where nothing else of its head has tensors (a hidden layer, a norm), and where
    no other tensor beside the body might change the features on their way to it.

    Args:
        beside: Names and shapes of the tensors that are not the body's.
        in_features: Length of the network's features.
        roots: The head that each tensor belongs to: the first part of its name that the body does
            not share.
    """
    serious = [name for name in beside if not _HARMLESS.search(name)]
    found = [linear for name in serious if (linear := _linear(name, beside, in_features))]
    alone = [f for f in found if _is_alone(f, serious, roots)]
    heads = {roots[f"{f.module}.weight"] for f in alone}
    between = [name for name in serious if roots[name] not in heads]
    return [] if any(_changes_features(beside[n], n, in_features) for n in between) else alone


def _linear(name: str, beside: Mapping[str, Shape], in_features: int) -> Linear | None:
    module, _, leaf = name.rpartition(".")
    shape = beside[name]
    flat = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    if leaf != "weight" or not flat or shape[1] != in_features or _NO_CLASSIFIER.search(module):
        return None
    bias = beside.get(f"{module}.bias")
    if bias is not None and bias != shape[:1]:
        return None
    return Linear(module=module, weight=shape, has_bias=bias is not None)


def _is_alone(linear: Linear, names: Iterable[str], roots: Mapping[str, str]) -> bool:
    own = {f"{linear.module}.weight", f"{linear.module}.bias"}
    root = roots[f"{linear.module}.weight"]
    if root == linear.module:
        return True
    return not any(roots[name] == root and name not in own for name in names)


def _changes_features(shape: Shape, name: str, in_features: int) -> bool:
    """Whether a tensor of another head may belong to a norm, a pooling or a gate."""
    vector = len(shape) == 1 and shape[0] in (1, in_features)
    return vector or len(shape) > 2
