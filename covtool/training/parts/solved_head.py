"""The model that a run is judged by where its classifier is solved and not trained."""

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from covtool.data.loading.loaders import ImageLoader
from covtool.errors import ArgumentError
from covtool.processes import Processes
from covtool.progress import Track, silent
from covtool.surgery import CalibrationResult, refit_classifier_
from covtool.surgery.streaming import Loader


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedHead:
    """A model that shares all tensors with the trained one but those of its classifier.

    The trained classifier goes on to steer the backbone, although it knows its images by heart.
    What is measured and exported has the classifier that ridge regression gives for the features
    as they are by then, which fits new images better (docs/finetune.md has the figures).

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
