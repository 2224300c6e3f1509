"""The model to open, as one record for every command that takes one."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from covtool.specs.record import Record


class ModelSource(Record):
    """A model, as a user names it, with what nothing in its file says.

    Attributes:
        name: Path of a covtool file, of another program's checkpoint, of a run's folder (its best
            model; ``RUN@last`` for the last one) or of one of its states; or
            ``resnet50.a1_in1k``, ``torchvision:resnet50``, ``hf-hub:ORG/NAME`` (a covtool file, or
            timm's), with ``@REVISION`` behind it.
        arch: Architecture of a checkpoint, where its tensors leave a choice; ``mpncovresnet50``
            for a published covariance network whose file does not say so.
        weights: ``auto``, ``ema`` or ``raw``, where a checkpoint has both; or the name of a set of
            weights: ``student``, ``encoder_k``.
        classifier_layer: The linear layer that gives the classes, where a checkpoint has several.
        iterations: Newton-Schulz steps of a published covariance network, whose file does not
            hold them; None for 5. Not for covtool files, which do.
        from_scratch: Whether an architecture's name gets random weights, not its pretrained ones.
        input: Fields of `InputSpec` that replace those of the model.
    """

    name: str
    arch: str | None = None
    weights: str = "auto"
    classifier_layer: str | None = None
    iterations: int | None = None
    from_scratch: bool = False
    input: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, source: "ModelSource | str | Path", **fields: Any) -> Self:
        """Return the source that a name or a path stands for; a source stays what it is.

        Args:
            source: A name, a path or a source.
            **fields: Fields to set.

        Example:
            >>> ModelSource.of("resnet50.pth", arch="resnet50").arch
            'resnet50'
        """
        if isinstance(source, cls):  # `model_copy` would take an unknown field in silence
            return cls.model_validate({**dict(source), **fields})
        return cls(name=str(source), **fields)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images in pixels, where they are given."""
        return self.input.get("size")
