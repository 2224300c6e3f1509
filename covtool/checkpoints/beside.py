"""Tensors beside a network's body: its classifier under another name, and what belongs elsewhere.

What stands inside a module of the body, or under a name that is none of the usual ones of heads,
losses and projectors and not behind the body, may change what the network computes: then it is
another network.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from covtool.backbones.fingerprint import Shape
from covtool.safetensors_header import MOST_TENSORS

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

# A linear layer of these is not a classifier, though its inputs may fit.
_NO_CLASSIFIER = re.compile(
    r"(?:^|[._])(?:queue\w*|memory\w*|proj\w*|predict(?:or|ion)s?|prototypes?|centers?|embed\w*|decoder\w*"
    r"|bottleneck\w*|neck\w*|loss\w*|crit\w*|margin\w*|arc\w*|cos\w*|sphere\w*|circle\w*|product|reduction"
    r"|att\w*|gates?|rot\w*|aux\w*|AuxLogits|mlp(?!_head)\w*|teacher\w*|momentum\w*|q|k|v|qkv)(?:[._]|$)"
)

# Parts of what the network computes, though they may be stored behind its body: attention between
# the stages, prompts among the tokens, layers that change the images.
_PARTS = re.compile(
    r"(?:ca|sa|se|eca|cbam|simam|att|attn|attentions?|nl|non_?local|gates?|stn|localization|fc_loc"
    r"|prompts?|lora|adapters?)(?:_\w+|\d*)"
)

# Single numbers that features are raised to, or multiplied by.
_POWERS = re.compile(r"(?:^|[._])(?:\w*pool\w*[.].*|gem\w*|p|gamma|scale|sigma|s)$")


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
    """Return the tensors that speak against a body: the network may compute with them.

    Args:
        names: Names of all tensors behind the body's prefix, in the order of the file.
        body: Those of the body.
        classifiers: Modules of the architecture that give the classes; what stands below one of
            them is a head of the file's own.
        ordered: Whether the file keeps the order of the model. Then unknown names behind the body
            are heads.
    """
    own = {name.partition(".")[0] for name in body}
    heads = tuple(f"{module}." for module in classifiers)
    # torch saves modules in the order of their definition: what comes after the body is a head.
    last = max(position for position, name in enumerate(names) if name in body)
    return [
        name
        for position, name in enumerate(names)
        if name not in body
        and not name.startswith(heads)
        and (
            # A tensor inside one of the body's own modules takes part in what that module computes.
            _top(name) in own
            or _is_part(name)
            or not (_is_beside(name) or (ordered and position > last))
        )
    ]


def modules_above(name: str) -> Iterator[str]:
    """Yield every module that a tensor is in, from the outermost on, with the dot behind it."""
    at = name.find(".") + 1
    while at:
        yield name[:at]
        at = name.find(".", at) + 1


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_part(name: str) -> bool:
    return bool(_PARTS.fullmatch(_top(name)))


def _is_beside(name: str) -> bool:
    return _is_harmless(name) or bool(_HEADS.fullmatch(_top(name)))


@lru_cache(maxsize=2 * MOST_TENSORS)  # each prefix and architecture asks for all of a file's names
def _is_harmless(name: str) -> bool:
    return _HARMLESS.search(name) is not None


def linear_classifiers(
    beside: Mapping[str, Shape], in_features: int, roots: Mapping[str, str]
) -> list[Linear]:
    """Find linear layers among the tensors beside a body that can be its classifier.

    Nothing else of a layer's head may have tensors (a hidden layer, a norm), unless the head is
    several such layers side by side. See also `between`.

    Args:
        beside: Names and shapes of the tensors that are not the body's.
        in_features: Length of the network's features.
        roots: The head that each tensor belongs to: the first part of its name that the body does
            not share.
    """
    serious = [name for name in beside if not _is_harmless(name)]
    found = [linear for name in serious if (linear := _linear(name, beside, in_features))]
    sizes = Counter(roots[name] for name in serious)
    heads: dict[str, list[Linear]] = {}
    for linear in found:
        heads.setdefault(roots[f"{linear.module}.weight"], []).append(linear)
    own = Counter(
        root
        for root, linears in heads.items()
        for linear in linears
        for name in own_tensors(linear)
        if roots.get(name) == root
    )
    alone = {  # or several side by side, none of which gives features: one for each task
        root
        for root, linears in heads.items()
        if own[root] == sizes[root]
        and (len(linears) == 1 or all(linear.weight[0] != in_features for linear in linears))
    }
    return [f for f in found if (root := roots[f"{f.module}.weight"]) == f.module or root in alone]


def own_tensors(linear: Linear) -> set[str]:
    """Return names of a layer's weight and bias."""
    return {f"{linear.module}.weight", f"{linear.module}.bias"}


def between(
    beside: Mapping[str, Shape],
    in_features: int,
    roots: Mapping[str, str],
    linears: Iterable[Linear],
) -> list[str]:
    """Return tensors that may change the features on their way to a classifier, or belong to it.

    A norm, the power of a pooling, a gate, a layer before the network, the scale of a cosine.

    Args:
        beside: Names and shapes of the tensors that are neither the body's nor a copy of it.
        in_features: Length of the network's features.
        roots: The head that each tensor belongs to, see `linear_classifiers`.
        linears: Layers that may be the classifier.
    """
    linears = list(linears)
    modules = {f"{linear.module}." for linear in linears}
    own = {name for linear in linears for name in own_tensors(linear)}
    heads = _heads_beside(beside, in_features, roots)
    return [
        name
        for name, shape in beside.items()
        if name not in own
        and (
            not modules.isdisjoint(modules_above(name))
            or (
                not _is_harmless(name)
                and roots[name] not in heads
                and _changes_features(name, shape, in_features)
            )
        )
    ]


def _heads_beside(
    beside: Mapping[str, Shape], in_features: int, roots: Mapping[str, str]
) -> set[str]:
    """Return the roots of heads that read the features and give nothing back to them."""
    reading, writing = set(), set()
    for name, shape in beside.items():
        root = roots[name]
        # Vectors read no features: a bias, a margin, a temperature.
        if len(shape) < 2 or _PARTS.fullmatch(root.rpartition(".")[2]):
            continue
        if root.endswith(("_head", "_heads")):
            reading.add(root)
        if shape[1] == in_features and (shape[0] != in_features or _is_head(root)):
            reading.add(root)
        if shape[0] == in_features and not _is_head(root):
            writing.add(root)
    return reading - writing


def _is_head(root: str) -> bool:
    return bool(_HEADS.fullmatch(root.rpartition(".")[2]))


def _linear(name: str, beside: Mapping[str, Shape], in_features: int) -> Linear | None:
    module, _, leaf = name.rpartition(".")
    shape = beside[name]
    flat = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    # Projections, attention and the like are linear layers as well, but give no classes.
    if leaf != "weight" or not flat or shape[1] != in_features or _NO_CLASSIFIER.search(module):
        return None
    bias = beside.get(f"{module}.bias")
    if bias is not None and bias != shape[:1]:
        return None
    return Linear(module=module, weight=shape, has_bias=bias is not None)


def _changes_features(name: str, shape: Shape, in_features: int) -> bool:
    """Return whether a tensor may belong to a norm, a pooling, a gate or a layer of its own.

    A single number does where its name says so: others scale losses and answers.
    """
    if shape in ((), (1,)):
        return bool(_POWERS.search(name))
    return shape in ((in_features,), (in_features, in_features)) or len(shape) > 2
