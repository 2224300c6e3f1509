"""What a classifier says of each image, kept while its accuracy is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from covtool.evaluation.classification.accuracy import ranks_of
from covtool.evaluation.classification.columns import Column
from covtool.ops.neighbors import normalized, sketch_for
from covtool.ops.precision import full_precision

MOST_INPUT_BYTES = 1 << 29
"""Most bytes of the inputs of a classifier that are kept as they are: 512 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageAnswers:
    """The answers for N images, in their order; probabilities are at the model's temperature.

    Attributes:
        right: Output that would be right, (N,).
        given: Output with the highest logit, the first of equals, (N,).
        probability: Probability of that output, float64, (N,).
        right_probability: Probability of the right one, float64, (N,).
        loss: Negative log-likelihood of the right one in nats, float64, (N,).
        rank: Outputs that come before the right one, (N,); 0 where the answer is right.
        directions: Inputs of the classifier, taken to length 1 and sketched where they are long,
            float16, (N, m); None where the model has no linear classifier.
        inputs: The same inputs as they are, float32, (N, D); None where they are not asked for, or
            take more than `MOST_INPUT_BYTES`.
    """

    right: Tensor
    given: Tensor
    probability: Tensor
    right_probability: Tensor
    loss: Tensor
    rank: Tensor
    directions: Tensor | None = None
    inputs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.right)


_COLUMNS = 6  # of what is kept for each image beside the direction


class AnswerKeeper:
    """Keeps the answers of a model while it is measured; nothing is computed twice.

    Args:
        model: Model that is measured.
        temperature: Number that logits are divided by before they become probabilities.
        layer: Path of the classifier, whose input is kept as well; None for no such thing.
        inputs: Whether it is kept as it is, too.
    """

    def __init__(
        self, model: nn.Module, temperature: float, layer: str | None, *, inputs: bool = False
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._layer = layer
        self._fed: Tensor | None = None
        self._columns = tuple(Column() for _ in range(_COLUMNS))
        self._directions = Column()
        self._inputs: list[Tensor] | None = [] if inputs and layer else None
        self._input_bytes = 0

    def __enter__(self) -> Self:
        layer = self._model.get_submodule(self._layer) if self._layer else None
        self._hook = layer.register_forward_pre_hook(self._remember) if layer else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Take a batch whose forward pass was the last one, (B, K) and (B,)."""
        logits, targets = logits.cpu(), targets.cpu()  # not every device has float64
        logs = (logits.double() / self._temperature).log_softmax(1)
        given = logits.argmax(1)
        of_given, of_right = (logs.gather(1, c[:, None])[:, 0] for c in (given, targets))
        ranks = ranks_of(logits, targets)
        found = (targets, given, of_given.exp(), of_right.exp(), -of_right, ranks)
        for column, rows in zip(self._columns, found, strict=True):
            column.add(rows)
        if self._fed is not None:
            flat = self._fed.flatten(1).float()
            self._directions.add(normalized(flat, sketch_for(flat.shape[1])).half())
            self._keep_input(flat if self._fed.ndim == 2 else None)
            self._fed = None

    def take(self) -> ImageAnswers | None:
        """Return the answers so far; None without any, as one of several processes may have."""
        if not len(self._columns[0]):
            return None
        columns = [column.rows for column in self._columns]
        directions = self._directions.rows if len(self._directions) else None
        inputs = torch.cat(self._inputs) if self._inputs else None
        return replace(_answers(columns, directions), inputs=inputs)

    def _keep_input(self, flat: Tensor | None) -> None:
        """Keep the inputs of a batch; None where they are no vectors, which no file takes."""
        if self._inputs is None:
            return
        self._input_bytes += 0 if flat is None else flat.numel() * flat.element_size()
        if flat is None or self._input_bytes > MOST_INPUT_BYTES:
            self._inputs = None
        else:
            self._inputs.append(flat.cpu())

    def _remember(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._fed = given[0].detach()  # a layer that is called twice counts with its last input


def joined_answers(parts: Sequence[ImageAnswers | None]) -> ImageAnswers:
    """Return the answers of all processes' images, in the order of their ranks."""
    found = [part for part in parts if part is not None]
    names = ("right", "given", "probability", "right_probability", "loss", "rank")
    with full_precision(found[0].right):  # autocast joins no tensors of another precision
        columns = [torch.cat([getattr(part, name) for part in found]) for name in names]
        directions = [part.directions for part in found if part.directions is not None]
        joined = _answers(columns, torch.cat(directions) if directions else None)
    # Of several processes none keeps them: they would be sent from one to another.
    return replace(joined, inputs=found[0].inputs if len(found) == 1 else None)


def _answers(columns: Sequence[Tensor], directions: Tensor | None) -> ImageAnswers:
    right, given, probability, right_probability, loss, rank = columns
    return ImageAnswers(
        right=right,
        given=given,
        probability=probability,
        right_probability=right_probability,
        loss=loss,
        rank=rank,
        directions=directions,
    )
