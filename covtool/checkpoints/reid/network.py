"""A re-identification network as its checkpoint says and its code base implies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from covtool.specs import InputSpec
from covtool.specs.reid_operations import NeckLayer

State = Mapping[str, Tensor]

PERSON = (256, 128)  # height and width, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Neck:
    """What is between pooling and classifier.

    Attributes:
        layers: Kinds, in order, as in `covtool.specs.NeckSpec`.
        tensors: Under the names of `covtool.layers.neck.Neck`.
    """

    layers: tuple[NeckLayer, ...] = ()
    tensors: State = field(default_factory=dict)

    @property
    def features(self) -> int | None:
        """Outputs of its linear layer; None where it has none."""
        weight = self.tensors.get("linear.weight")
        return None if weight is None else len(weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReidNetwork:
    """A re-identification network, as far as its file and its code base tell it.

    Attributes:
        body: Tensors of the backbone, under timm's names.
        classifier: ``weight`` and perhaps ``bias``; empty where the file has none.
        neck: Between pooling and classifier.
        eigenlayer: Weight of SVDNet's Eigenlayer; None without one.
        pooling: ``avg``, ``max``, or ``gem``.
        power: Exponent of the generalized mean, where the file has it.
        last_stride: Stride of a convolutional backbone's last stage.
        unpadded: Whether the stem's max pooling is without padding.
        may_lack_relu: Whether the code base has networks without the first ReLU.
        has_relu: Whether there is a first ReLU by the names; None where they do not show it.
        images: Images as the code base prepares them.
        settings: Tensors that were read and are in no layer.
        read_beside: Name of the file beside the checkpoint that some of this was read from.
        notes: Other assumptions, in sentences.
    """

    body: State
    classifier: State
    neck: Neck = field(default_factory=Neck)
    eigenlayer: Tensor | None = None
    pooling: Literal["avg", "max", "gem"] = "avg"
    power: Tensor | None = None
    last_stride: Literal[1, 2] = 1
    unpadded: bool = False
    may_lack_relu: bool = False
    has_relu: bool | None = None
    images: InputSpec
    settings: State = field(default_factory=dict)
    read_beside: str | None = None
    notes: tuple[str, ...] = ()


def squashed(**fields: Any) -> InputSpec:
    """Return images of persons, both sides resized; fields of `InputSpec` where they differ."""
    return InputSpec(**{"size": PERSON, "crop_mode": "squash", "crop_pct": 1.0} | fields)


def below(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors behind a prefix, under the names that follow it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
