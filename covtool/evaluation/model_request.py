"""What every evaluation of a model is asked: which model, on how many images at once, where."""

from dataclasses import dataclass, field
from typing import Any

import torch

from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.checkpoints.opening import open_model
from covtool.data.datasets.checking import OnBadImage
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.processes import Processes
from covtool.specs import DescriptionSpec, LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A model, and how it is run.

    Attributes:
        source: A covtool file, a foreign checkpoint or a name; see `open_model`.
        arch: Architecture, where the tensors leave a choice.
        iterations: Newton-Schulz steps of a published covariance network; None for 5.
        weights: ``auto``, ``ema`` or ``raw``, or the name of a set of weights.
        classifier_layer: Of a checkpoint that has several linear layers which may be it.
        input_overrides: Fields of `InputSpec` to replace.
        batch_size: Images at once.
        workers: Processes that load images.
        device: Where the model runs; ``auto`` for the best there is.
        on_bad_image: Whether an unreadable image is an error, or left out.
        launch: How long processes wait for each other, where there are several.
    """

    source: str
    arch: str | None = None
    iterations: int | None = None
    weights: str = "auto"
    classifier_layer: str | None = None
    input_overrides: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    on_bad_image: OnBadImage = "error"
    launch: LaunchSpec = field(default_factory=LaunchSpec)

    def open(self) -> OpenedModel:
        """Return the model.

        Raises:
            CheckpointError: It cannot be opened.
        """
        return open_model(
            self.source,
            arch=self.arch,
            iterations=self.iterations,
            weights=self.weights,
            classifier_layer=self.classifier_layer,
            input_overrides=self.input_overrides,
        )

    def extractor(
        self,
        opened: OpenedModel,
        spec: DescriptionSpec,
        *,
        device: torch.device,
        processes: Processes,
    ) -> FeatureExtractor:
        """Return what turns images into features of the model.

        Args:
            opened: The model.
            spec: Which features.
            device: Where it runs.
            processes: That work on it together.

        Raises:
            SurgeryError: It has no linear classifier, or does not run on such images.
            CheckpointError: Its answers are asked for, and its classifier is random.
        """
        if spec.feature == "logits":
            require_trained_classifier(self.source, opened.recipe)
        return FeatureExtractor.of(
            opened.model,
            opened.recipe.input,
            spec,
            batch_size=self.batch_size,
            workers=self.workers,
            device=device,
            processes=processes,
        )
