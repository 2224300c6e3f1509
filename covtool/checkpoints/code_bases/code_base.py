"""A code base whose names are read, as a row, and what reading a file of it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Tensors = Mapping[str, Tensor]
Rules = tuple[tuple[str, str], ...]
Step = Callable[[Tensors], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Findings in the tensors of one file, beyond their names.

    Attributes:
        arguments: timm's constructor arguments that they imply.
        prefers: Regular expression over the architectures that come first among equals.
        input: Fields of `InputSpec` that are known.
        unused: Names, as the row sees them, that are left out on purpose.
        notes: Choices and omissions, in sentences.
        refusal: Reason why no architecture of timm or torchvision computes what this one does; ""
            where one does.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    prefers: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The tensors of a file as a row sees them.

    Attributes:
        inside: Tensors behind the prefix of the network, under the names that follow it.
        beside: Other tensors, without the part of the prefix that they share.
        config: Content of ``config.json`` beside the file; empty without one.
    """

    inside: Tensors
    beside: Tensors = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def inner(self, name: str) -> Mapping[str, Any]:
        """Return a configuration inside the configuration; the whole of it where there is none."""
        # A tower that was saved alone has its settings at the top.
        inside = self.config.get(name)
        return inside if isinstance(inside, Mapping) else self.config


def says_nothing(part: Part) -> Findings:
    """Return an empty statement, for code bases whose tensors say no more than their names."""
    return Findings()


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBase:
    """A code base, or one of its families of networks, and the way from its names to timm's.

    Attributes:
        name: Name in lower case, with hyphens.
        summary: Noun phrase for what is read.
        source: Origin of the names.
        signs: Regular expressions, each of which some name must match from the beginning of one of
            its parts between dots. What is before the match of the first is the prefix.
        rules: Pattern and replacement, applied to the names behind the prefix one after the other.
        beside: Such rules for the names elsewhere in the file: a classifier, mostly.
        unused: Patterns of names behind the prefix that are left out on purpose.
        unused_beside: Such patterns for the names elsewhere: a text tower, a decoder.
        steps: Changes of tensors under their new names: joining, splitting, reshaping, permuting.
        says: Function that reads more than the names.
    """

    name: str
    summary: str
    source: str
    signs: tuple[str, ...]
    rules: Rules = ()
    beside: Rules = ()
    unused: tuple[str, ...] = ()
    unused_beside: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    says: Callable[[Part], Findings] = says_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A file of another code base under timm's or torchvision's names.

    Attributes:
        code_base: The row's name.
        summary: Noun phrase for the code base.
        tensors: Tensors under the new names. What has no counterpart keeps its own.
        unused: Own names that are left out on purpose: they are not in `tensors`.
        arguments: timm's constructor arguments that are implied.
        prefers: Regular expression over the architectures that come first among equals.
        input: Fields of `InputSpec` that are known.
        notes: Choices and omissions, in sentences.
        refusal: Reason to refuse the file although it is understood; "" without one.
    """

    code_base: str
    summary: str
    tensors: Tensors
    unused: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    prefers: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refusal: str = ""
