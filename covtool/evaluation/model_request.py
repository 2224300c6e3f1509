"""The part that all requests to evaluate a model share: the model, and how it is run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.checkpoints.opening import open_model
from covtool.data.datasets.checking import OnBadImage
from covtool.errors import ArgumentError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.printable import printable
from covtool.processes import Processes
from covtool.specs import FeatureSpec, LaunchSpec, ModelSource

FAR = "The images are far from those that the model was made for: the figures say little."
"""What is said of figures of such images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A model, and how it is run.

    Attributes:
        source: The model, or its name alone.
        batch_size: Images per batch.
        workers: Processes that load images.
        device: Device that the model runs on; ``auto`` for the best there is.
        amp: Whether the model runs in mixed precision.
        amp_dtype: Lower precision of `amp`.
        on_bad_image: Whether an unreadable image is an error, or left out.
        launch: Time that several processes wait for each other.
    """

    source: ModelSource
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    amp: bool = False
    amp_dtype: Literal["float16", "bfloat16"] = "float16"
    on_bad_image: OnBadImage = "error"
    launch: LaunchSpec = field(default_factory=LaunchSpec)

    def __post_init__(self) -> None:
        # The record is frozen; a name alone is what a library's user writes.
        object.__setattr__(self, "source", ModelSource.of(self.source))

    def open(self) -> OpenedModel:
        """Return the model.

        Raises:
            CheckpointError: It cannot be opened.
            ArgumentError: Mixed precision is asked for, and its weights are in half already.
        """
        opened = open_model(self.source)
        if self.amp and (half := half_precision_of(opened.model)):
            raise ArgumentError(
                f"The weights of {printable(self.source.name)} are {half} already, and --amp is "
                "for weights in float32.",
                hint="Leave out --amp: the model runs in the precision of its weights.",
            )
        return opened

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which the model runs."""
        return torch.autocast(device.type, dtype=getattr(torch, self.amp_dtype), enabled=self.amp)

    def in_autocast(self, computed: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Yield what a network computes on the way, in the precision that is asked for.

        Unlike with `autocast` around a loop, what is done with it keeps its own precision.
        """
        each = iter(computed)
        while True:
            with self.autocast(device):
                tensor = next(each, None)
            if tensor is None:
                return
            yield tensor

    def extractor(
        self,
        opened: OpenedModel,
        spec: FeatureSpec,
        *,
        device: torch.device,
        processes: Processes,
    ) -> FeatureExtractor:
        """Return an extractor of the model's features.

        Args:
            opened: The model.
            spec: Choice of the features.
            device: Device that the model runs on.
            processes: Processes that work on it together.

        Raises:
            SurgeryError: It has no linear classifier, or does not run on such images.
            CheckpointError: Its logits are asked for, and its classifier is random.
        """
        if spec.feature == "logits":
            require_trained_classifier(self.source.name, opened.recipe)
        return FeatureExtractor.of(
            opened.model,
            opened.recipe.input,
            spec,
            batch_size=self.batch_size,
            workers=self.workers,
            device=device,
            processes=processes,
        )


def half_precision_of(model: nn.Module) -> str | None:
    """Return the name of the half precision that a model's weights are in; None for others."""
    parameter = next(model.parameters(), None)
    if parameter is None or parameter.dtype not in (torch.float16, torch.bfloat16):
        return None
    return str(parameter.dtype).removeprefix("torch.")
