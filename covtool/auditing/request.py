"""The request of an audit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from covtool.errors import ArgumentError
from covtool.specs import LayoutSpec, ModelSource
from covtool.specs.auditing import AuditSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """A data set, and what looks at it.

    Attributes:
        data: The data set, or a folder or list of images.
        model: Model whose embeddings tell labels in doubt and images unlike others; None without.
        predictions: File of out-of-fold predictions in place of the model's left-out ones.
        task: What the data set is for; None for what its names say.
        spec: How closely it is looked at.
        layout: Choices in reading the data set.
        batch_size: Images per batch of the model.
        workers: Processes that load them.
        device: Device that the model runs on.

    Raises:
        ArgumentError: A quick look with a model.
    """

    data: Path
    model: ModelSource | None = None
    predictions: Path | None = None
    task: Literal["classification", "retrieval"] | None = None
    spec: AuditSpec = field(default_factory=AuditSpec)
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model is not None:  # a name alone is what a library's user writes
            object.__setattr__(self, "model", ModelSource.of(self.model))
        if self.spec.quick and self.model is not None:
            raise ArgumentError(
                "A quick look decodes no pixel, and a model needs them.",
                hint="Leave out --quick or --model.",
            )
