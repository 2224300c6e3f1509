"""The model that a run is judged by where its classifier is solved and not trained."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import ImageLoader, evaluation_loader
from covtool.errors import ArgumentError
from covtool.processes import Processes
from covtool.progress import Track, silent
from covtool.specs import InputSpec, TrainingSpec
from covtool.surgery import CalibrationResult, refit_classifier_
from covtool.surgery.streaming import Loader
from covtool.training.parts.head import ClassifierHead


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedHead:
    """A model that shares all tensors with the trained one but those of its classifier.

    The trained classifier goes on to steer the backbone, although it knows its images by heart.
    What is measured and exported has the classifier that ridge regression gives for the features
    as they are by then; benchmarks/calibrated_finetuning.py measures both.

    Attributes:
        model: The model, in eval mode.
        classifier: Path of its classifier.
        batches: The training images as an evaluation prepares them, this process's share.
        num_images: Number of them in all processes.
    """

    model: nn.Module
    classifier: str
    batches: ImageLoader
    num_images: int

    def solve_(
        self, batches: Loader, processes: Processes, track: Track = silent
    ) -> CalibrationResult:
        """Solve the classifier for the features as they are now; all processes must call this.

        Args:
            batches: `batches`, or the same images in smaller parts.
            processes: Processes that have a share of the images each.
            track: Shows progress.
        """
        return refit_classifier_(
            self.model.eval(),
            self.classifier,
            batches,
            num_images=self.num_images,
            track=track,
            processes=processes,
        )


def plan_solved_head(  # noqa: PLR0913 -- a model, its head, images, and how
    model: nn.Module,
    head: ClassifierHead,
    images: Sequence[Sample],
    input: InputSpec,
    training: TrainingSpec,
    device: torch.device,
    processes: Processes,
) -> SolvedHead | None:
    """Return what a run is judged by beside its own model; None without ``--resolve-head on``.

    Args:
        model: Model that is trained, or its moving average.
        head: Its head.
        images: Training images.
        input: Images that the model expects.
        training: Settings of the run.
        device: Device of the model.
        processes: Processes that train together.

    Raises:
        ArgumentError: See `share_all_but_classifier`.
    """
    if training.resolve_head != "on":
        return None
    batches = evaluation_loader(
        images,
        input,
        batch_size=training.batch_size,
        workers=training.workers,
        on_bad_image=training.on_bad_image,
        device=device,
        select_batches=processes.part_of,
    )
    return SolvedHead(
        model=share_all_but_classifier(model, head.classifier),
        classifier=head.classifier,
        batches=batches,
        num_images=len(images),
    )


def share_all_but_classifier(model: nn.Module, classifier: str) -> nn.Module:
    """Return a copy of a model whose parameters and buffers are the same objects.

    Only the tensors of the classifier are its own. Training in place changes both.

    Raises:
        ArgumentError: The classifier has no bias, which ridge regression has.
    """
    layer = model.get_submodule(classifier)
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ArgumentError(
            f"--resolve-head on solves a linear classifier with a bias, and {classifier} is none.",
            hint="Use --resolve-head off.",
        )
    own = {id(tensor) for tensor in layer.parameters()}
    tensors = (*model.parameters(), *model.buffers())
    # A copy takes what the memo names for what it has copied already.
    memo = {id(tensor): tensor for tensor in tensors if id(tensor) not in own}
    return deepcopy(model, memo).eval()
