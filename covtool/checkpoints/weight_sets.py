"""Sets of weights in one file, by their names, and the one that is taken."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from covtool.printable import printable

ANY = ("auto", "ema", "raw")

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_AVERAGED = frozenset({"ema", "swa", "avg", "average", "averaged", "polyak", "shadow"})

# What only training needs; its tensors are no weights.
_BESIDE_TRAINING = re.compile(r"optim|sched|scaler|rng|history|callback|loops", re.IGNORECASE)

# A head that distills a network from itself (DINO, iBOT, SwAV): there the teacher is what is used.
_SELF_DISTILLING = re.compile(
    r"(?:^|\.)(?:last_layer|dino_head|ibot_head|head\.mlp|prototypes|center)(?:\.|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two networks that are trained together, of which one is used afterwards.

    Attributes:
        taken: Part of the names of the one that is used.
        left: The same place in the names of the other.
        source: Origin of the weights.
        projects: Whether what stands in a classifier's place is a projection there.
    """

    taken: str
    left: str
    source: str
    projects: bool = False


PAIRS = (
    Pair(taken="encoder_q", left="encoder_k", source="MoCo", projects=True),
    Pair(taken="query_encoder", left="key_encoder", source="MoCo", projects=True),
    Pair(taken="backbone_q", left="backbone_k", source="MoCo", projects=True),
    Pair(taken="model_q", left="model_k", source="MoCo", projects=True),
    Pair(taken="base_encoder", left="momentum_encoder", source="MoCo v3", projects=True),
    Pair(taken="encoder", left="momentum_encoder", source="MoCo in solo-learn and lightly"),
    Pair(taken="encoder", left="encoder_momentum", source="MoCo in lightly"),
    Pair(taken="backbone", left="backbone_momentum", source="MoCo in lightly"),
    Pair(taken="backbone", left="momentum_backbone", source="MoCo in solo-learn"),
    Pair(taken="online_encoder", left="target_encoder", source="BYOL"),
    Pair(taken="online_network", left="target_network", source="BYOL"),
    Pair(taken="online_net", left="target_net", source="BYOL"),
    Pair(taken="online", left="target", source="BYOL"),
    Pair(taken="target_encoder", left="encoder", source="MSN, I-JEPA"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A set of weights out of several.

    Attributes:
        name: Name of the set.
        note: Sentence that says that it is taken.
        projects: Whether what stands in its classifier's place is a projection.
    """

    name: str
    note: str | None = None
    projects: bool = False


def words_of(name: str) -> set[str]:
    """Return the lower-case words of a name: ``modelEMA`` has ``model`` and ``ema``."""
    return {word.lower() for word in _WORDS.findall(name)}


def components(name: str) -> list[str]:
    """Return parts of a name between dots, and of a path of entries."""
    return [part for part in re.split(r"[.>\s*]+", name) if part]


def is_averaged(name: str) -> bool:
    """Return whether a name says that its weights are a moving average."""
    return bool(words_of(name) & _AVERAGED)


def is_of_training(name: str) -> bool:
    """Return whether an entry of that name belongs to an optimizer or a schedule."""
    return _BESIDE_TRAINING.search(name) is not None


def distills_itself(names: Iterable[str]) -> bool:
    """Return whether names of tensors show a head of self-distillation."""
    return any(_SELF_DISTILLING.search(name) for name in names)


def role(name: str) -> str | None:
    """Return ``student`` or ``teacher``, where the name says it."""
    # A name with both, as of a loss between them, says neither.
    roles = words_of(name) & {"student", "teacher"}
    return roles.pop() if len(roles) == 1 else None


def choose(names: Sequence[str], *, self_distilled: bool = False) -> Choice | None:
    """Return the set that is used where nothing else is asked for; None where that has to be asked.

    Args:
        names: Names of the sets: entries or prefixes of tensors; at least one.
        self_distilled: Whether student and teacher have a head of self-distillation, where the
            teacher is used by convention.
    """
    left = {other for name in names for other in names if _is_left(other, beside=name)}
    roles = {name: role(name) for name in names}
    if self_distilled and {"student", "teacher"} <= set(roles.values()):
        left |= {name for name in names if roles[name] == "student"}
    # More than one is left, or none: a guess would be a wrong network.
    taken = [name for name in names if name not in left]
    if len(taken) != 1:
        return None
    if not left:
        return Choice(name=taken[0])
    others = " and ".join(sorted(_short(name) for name in left))
    return Choice(
        name=taken[0],
        note=f"The weights of {_short(taken[0])} are used, as usual, not those of {others} "
        "(--weights NAME).",
        projects=any(_projects(taken[0], name) for name in left),
    )


def matching(name: str, asked: str) -> bool:
    """Return whether a set's name is what was asked for: whole, a part, or a word of it."""
    return asked in (name, name.rstrip("."), *components(name)) or role(name) == asked


def _is_left(name: str, *, beside: str) -> bool:
    """Return whether a set is the other one of a pair; the first pair that fits decides."""
    own, other = components(name), components(beside)
    for pair in PAIRS:
        # Order matters: in MSN `encoder` is left, in MoCo of solo-learn it is taken.
        if pair.left in own and pair.taken in other:
            return True
        if pair.taken in own and pair.left in other:
            return False
    return False


def _projects(taken: str, left: str) -> bool:
    """Return whether two sets are a pair whose heads project."""
    own, other = components(taken), components(left)
    return any(pair.projects and pair.taken in own and pair.left in other for pair in PAIRS)


def _short(name: str) -> str:
    return printable(name.rstrip(".")) or "the file"
