"""Statements about a checkpoint: of single sources, and of all together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one source says.

    Attributes:
        where: Source, in words that finish "as stated by".
        architecture: Name as stated; perhaps with a pretrained tag.
        other_names: Further names of the architecture: another library's, or less explicit ones.
        arguments: Arguments of timm's constructor.
        num_classes: Outputs of the classifier.
        class_names: Names of the outputs.
        input: Fields of `InputSpec`, with their values.
        problems: Statements that cannot be right, in sentences.
        is_content: Whether it is the content of a file, not a name.
        is_exact: Whether a name is the published one, not only a part of it.
        rest_is_librarys: Whether what it leaves out is the library's own, as in timm's scripts.
    """

    where: str
    architecture: str | None = None
    other_names: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    is_content: bool = True
    is_exact: bool = True
    rest_is_librarys: bool = False

    def __bool__(self) -> bool:
        """Return whether it says anything."""
        named = (self.architecture, self.arguments, self.num_classes, self.class_names)
        return any((*named, self.input, self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What a checkpoint's content, name and folder say about it.

    Attributes:
        sources: The most trusted first; each says something.
        class_lists: Lists of classes beside the file, which may be of something else.
        hinted_architecture: One that is a part of the file's name or of its folder's.
    """

    sources: tuple[Statement, ...] = ()
    class_lists: tuple[Statement, ...] = ()
    hinted_architecture: str | None = None

    @property
    def architectures(self) -> tuple[str, ...]:
        """Names of the architecture, the most trusted first, perhaps with a pretrained tag."""
        names = (n for s in self.sources for n in (s.architecture, *s.other_names) if n)
        return tuple(dict.fromkeys(names))

    @property
    def written_architecture(self) -> str | None:
        """The architecture that the content of a file names, whatever the file is called."""
        named = (s.architecture for s in self.sources if s.is_content and s.architecture)
        return next(named, None)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of timm's constructor."""
        merged: dict[str, Any] = {}
        # The most trusted last, whose values replace the others'.
        for source in reversed(self.sources):
            merged |= source.arguments
        return merged

    @property
    def num_classes(self) -> int | None:
        """Outputs of the classifier."""
        return next((s.num_classes for s in self.sources if s.num_classes is not None), None)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the outputs, unchecked; see `covtool.checkpoints.metadata.classes`."""
        return next((s.class_names for s in self.sources if s.class_names), None)

    @property
    def input(self) -> dict[str, Any]:
        """Fields of `InputSpec`, unchecked; see `covtool.checkpoints.metadata.images`."""
        merged: dict[str, Any] = {}
        for source in reversed(self.sources):
            merged |= source.input
        return merged

    def with_architecture(self, name: str) -> "Statements":
        """Return the same, with the architecture that the user names before all."""
        statement = Statement(where="--arch", architecture=name)
        return replace(self, sources=(statement, *self.sources))
