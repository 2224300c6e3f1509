"""White-box attacks: images a little different that a classifier gets wrong.

All are bounded in L-infinity. Lengths are in units of pixel values in [0, 1], whatever the images
were normalized with; an `LInfinityBall` converts between the two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from covtool.data.rendering.draws import drawing
from covtool.errors import ArgumentError
from covtool.registry import Registry
from covtool.specs import AttackSpec, InputSpec, as_flag
from covtool.specs.attack import DEFAULT_SEED, DEFAULT_STEPS, STEP_SHARE

InputGradient = Callable[[Tensor], Tensor]
"""Normalized images to the gradient of the loss with respect to them, both (B, C, H, W)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LInfinityBall:
    """The L-infinity ball around images, cut to valid pixel values.

    Attributes:
        center: Images in the middle, normalized, (B, C, H, W).
        eps: Radius, in units of pixel values.
        mean: Mean that was subtracted from the pixel values, (C, 1, 1).
        std: Standard deviation that they were divided by after that, (C, 1, 1).
    """

    center: Tensor
    eps: float
    mean: Tensor
    std: Tensor

    @classmethod
    def around(cls, images: Tensor, input: InputSpec, eps: float) -> "LInfinityBall":
        """Return the ball about `images`, (B, C, H, W), that were prepared as `input` says."""

        def of_channels(values: Sequence[float]) -> Tensor:
            # One value stands for all channels, and gray has the average of three: the same as in
            # `covtool.data.transforms.from_timm`.
            each = values if len(values) == input.channels else (sum(values) / len(values),)
            return images.new_tensor(each).view(-1, 1, 1)

        return cls(center=images, eps=eps, mean=of_channels(input.mean), std=of_channels(input.std))

    def projected_step(self, images: Tensor, change: Tensor) -> Tensor:
        """Return the images in the ball nearest to `images` plus a change of their pixel values.

        Args:
            images: Normalized images, (B, C, H, W).
            change: Change in units of pixel values, (B, C, H, W).

        Returns:
            Normalized, (B, C, H, W); within `eps` of the center and with pixel values in [0, 1],
            up to rounding.
        """
        reach = self.eps / self.std  # of each channel: its pixels were divided by its own std
        near = (images + change / self.std).clamp(self.center - reach, self.center + reach)
        return near.clamp((0 - self.mean) / self.std, (1 - self.mean) / self.std)


AttackMethod = Callable[[InputGradient, LInfinityBall, AttackSpec, Sequence[int]], Tensor]


def fgsm(
    gradient: InputGradient, ball: LInfinityBall, spec: AttackSpec, numbers: Sequence[int] = ()
) -> Tensor:
    """Return one step of size eps along the sign of the gradient; `numbers` are not used.

    The worst case where the loss is linear within eps, and weak where it is not.

    Args:
        gradient: Gradient of the loss to raise.
        ball: Ball around the images.
        spec: Attack with its defaults, from `resolve_attack`.
        numbers: Numbers of the images, (B,).

    Returns:
        The perturbed images, normalized, (B, C, H, W).

    Source:
        Goodfellow, Shlens, Szegedy. "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """
    return ball.projected_step(ball.center, spec.radius * gradient(ball.center).sign())


def pgd(
    gradient: InputGradient, ball: LInfinityBall, spec: AttackSpec, numbers: Sequence[int]
) -> Tensor:
    """Take steps along the sign of the gradient, projected into the ball, from a random start.

    Gives the last step's images, not the worst of all steps.

    Args:
        gradient: Gradient of the loss to raise.
        ball: Ball around the images.
        spec: Attack with its defaults, from `resolve_attack`.
        numbers: Numbers of the images, (B,), which their starts follow from, with the seed.

    Returns:
        The perturbed images, normalized, (B, C, H, W).

    Source:
        Madry, Makelov, Schmidt, Tsipras, Vladu. "Towards Deep Learning Models Resistant to
        Adversarial Attacks", ICLR 2018.
    """
    images = ball.projected_step(ball.center, spec.radius * _noise(ball.center, spec, numbers))
    for _ in range(spec.steps):
        images = ball.projected_step(images, spec.step * gradient(images).sign())
    return images


def _noise(images: Tensor, spec: AttackSpec, numbers: Sequence[int]) -> Tensor:
    """Draw uniform noise in [-1, 1), like `images`; the same on every device, in every batch."""
    each = []
    for number in numbers:
        with drawing(spec.attack_seed, number):
            # Drawn on the CPU in float32: generators of devices and dtypes differ.
            each.append(2 * torch.rand(images.shape[1:], dtype=torch.float32) - 1)
    return torch.stack(each).to(images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A way to perturb images.

    Attributes:
        name: Value of `--attack`.
        summary: Summary in one line, with a full stop.
        source: Publication.
        method: Function that perturbs images.
        options: Fields of `AttackSpec` that it takes beside `eps`, and the default of each; a
            default may use the fields before it.
    """

    name: str
    summary: str
    source: str
    method: AttackMethod
    options: Mapping[str, Callable[[AttackSpec], int | str]] = field(default_factory=dict)


ATTACKS = Registry(
    "attack",
    [
        Attack(
            name="fgsm",
            summary="One step of size eps along the sign of the gradient.",
            source="Goodfellow, Shlens, Szegedy, ICLR 2015",
            method=fgsm,
        ),
        Attack(
            name="pgd",
            summary="Several such steps, smaller ones, from a random start within eps.",
            source="Madry, Makelov, Schmidt, Tsipras, Vladu, ICLR 2018",
            method=pgd,
            options={
                "steps": lambda spec: DEFAULT_STEPS,
                "step_size": lambda spec: repr(STEP_SHARE * spec.radius / spec.steps),
                "attack_seed": lambda spec: DEFAULT_SEED,
            },
        ),
    ],
)


def resolve_attack(spec: AttackSpec) -> AttackSpec | None:
    """Return `spec` with the defaults of its attack, or None where it asks for no attack.

    Raises:
        ArgumentError: See `AttackSpec.validate_fields`; the attack does not take an option.
        UnknownVariantError: There is no such attack.
    """
    spec.validate_fields()
    if spec.attack is None:
        return None
    options = ATTACKS[spec.attack].options
    for name in spec.given():
        if name not in ("eps", *options):
            raise _takes_no(spec.attack, name)
    # In the order of the table: the step's size needs the number of steps.
    for name, default in options.items():
        if getattr(spec, name) is None:
            spec = spec.model_copy(update={name: default(spec)})
    return spec


def _takes_no(attack: str, name: str) -> ArgumentError:
    takes = ", ".join(map(as_flag, ("eps", *ATTACKS[attack].options)))
    others = [row.name for row in ATTACKS if name in row.options]
    return ArgumentError(
        f"--attack {attack} takes no {as_flag(name)}.",
        reason=f"It takes {takes}.",
        hint=f"Leave it out, or choose --attack {' or '.join(others)}.",
    )
