"""An attack on a model, batch by batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool.backbones.module_modes import in_eval_mode
from covtool.errors import NonFiniteError
from covtool.evaluation.classification.accuracy import checked_logits
from covtool.evaluation.classification.attacks import ATTACKS, LInfinityBall
from covtool.processes import Processes
from covtool.specs import AttackSpec, InputSpec

TOLERATED_ZERO_SHARE = 0.1
"""Share of images whose gradient may be zero before the figure says little."""


class Attacker:
    """Perturbs batches of images, for `evaluate_classification`, and counts zero gradients.

    Images are numbered as they come, so that what is random about one does not depend on the size
    of the batches. Use a new one for each pass over the data.

    Args:
        spec: Attack with its defaults, from `resolve_attack`.
        input: Preparation of the images.
        first: Number of the first image: not 0 where several processes have a part each.

    Attributes:
        images: Number of images so far.
        zero_gradients: Images whose gradient was exactly zero where the attack began: a step along
            its sign leaves them as they are.
    """

    def __init__(self, spec: AttackSpec, input: InputSpec, *, first: int = 0) -> None:
        self.spec = spec
        self.input = input
        self._first = first
        self.images = 0
        self.zero_gradients = 0

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return images that raise the cross entropy of the model.

        The model works in eval mode. It is left as it was: modes, parameters, their gradients.

        Args:
            model: Images to logits, (B, K).
            images: Normalized images, (B, C, H, W).
            targets: Outputs that would be right, (B,).

        Returns:
            Normalized, (B, C, H, W), with no gradient.

        Raises:
            NonFiniteError: The gradient, or a logit, is not a number.
        """
        zeros: list[int] = []

        def gradient(images: Tensor) -> Tensor:
            value = input_gradient(model, images, targets)
            zeros.append(int((~value.flatten(1).any(1)).sum()))
            return value

        # The random start of PGD follows from an image's number, not from its place in a batch.
        start = self._first + self.images
        numbers = range(start, start + len(images))
        ball = LInfinityBall.around(images, self.input, self.spec.radius)
        with in_eval_mode(model), _parameters_held(model):
            perturbed = ATTACKS[self.spec.attack].method(gradient, ball, self.spec, numbers)
        self.images += len(images)
        self.zero_gradients += zeros[0]  # of the first step; later ones start elsewhere
        return perturbed

    def sum_over(self, processes: Processes) -> None:
        """Replace the counts by those of all processes."""
        sums = processes.sum(self.images, self.zero_gradients)
        self.images, self.zero_gradients = map(int, sums)

    @property
    def note(self) -> str | None:
        """What speaks against the attack, or None."""
        if self.zero_gradients <= TOLERATED_ZERO_SHARE * self.images:
            return None
        percent = 100 * self.zero_gradients / self.images
        return (
            f"The gradient is zero on {percent:.0f} % of the images: "
            "the attack says little about them."
        )


def input_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of the summed cross entropy with respect to the images.

    Args:
        model: Images to logits, (B, K).
        images: Normalized images, (B, C, H, W).
        targets: Outputs that would be right, (B,).

    Returns:
        As `images`; zero where the model lets no gradient through.

    Raises:
        NonFiniteError: It, or a logit, is not a number.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits = checked_logits(model(images), targets)
        # The sum, not the mean: an image's gradient does not depend on the size of the batch.
        loss = F.cross_entropy(logits, targets, reduction="sum")
    # A head may pass nothing back, by its gradient rule or by rounding: that is counted, not an
    # error of autograd.
    if not loss.requires_grad:
        return torch.zeros_like(images)
    (gradient,) = torch.autograd.grad(loss, images, materialize_grads=True)
    if gradient.isnan().any():
        raise NonFiniteError(
            "The gradient with respect to the images is not a number.",
            reason="An attack needs it for its direction.",
            hint="Where the head has a gradient rule, convert with --gradient exact.",
        )
    return gradient


@contextmanager
def _parameters_held(model: nn.Module) -> Iterator[None]:
    """Run a block in which no parameter of a model requires a gradient."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
