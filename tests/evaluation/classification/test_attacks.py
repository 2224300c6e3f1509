import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from tolerances import EXACT, FLOAT32, FLOAT64
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from covtool.data.transforms.from_timm import evaluation_transform
from covtool.errors import ArgumentError, DataError, NonFiniteError, UnknownVariantError
from covtool.evaluation import evaluate_classification
from covtool.evaluation.classification.attacker import Attacker, input_gradient
from covtool.evaluation.classification.attacks import ATTACKS, LInfinityBall, resolve_attack
from covtool.specs import AttackSpec, InputSpec

ROWS = pytest.mark.parametrize("attack", ATTACKS.names)
RGB = InputSpec(size=(6, 6))
ONE_FOR_ALL = InputSpec(size=(6, 6), mean=(0.4,), std=(0.3,))
GRAY = InputSpec(size=(6, 6), channels=1, mean=(0.5,), std=(0.2,))
GRAY_OF_THREE = InputSpec(size=(6, 6), channels=1)
INPUTS = pytest.mark.parametrize("input", [RGB, ONE_FOR_ALL, GRAY, GRAY_OF_THREE])
EPS = 4 / 255


def _spec(attack="fgsm", eps="4/255", **options):
    return resolve_attack(AttackSpec(attack=attack, eps=eps, **options))


def _statistics(input):
    each = [
        values if len(values) == input.channels else (sum(values) / len(values),)
        for values in (input.mean, input.std)
    ]
    return (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in each)


def _images(input, count=6, dtype=torch.float64, low=0.0, high=1.0):
    """Normalized noise whose pixel values are between `low` and `high`."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, input.channels, *input.size)
    pixels = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    mean, std = _statistics(input)
    return ((pixels - mean) / std).to(dtype)


def _pixels(images, input):
    mean, std = _statistics(input)
    return images.double() * std + mean


def _network(channels=3, classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 5, 3),
        nn.BatchNorm2d(5),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(80, classes),
    ).double()


def _loss(model, images, targets):
    return F.cross_entropy(model.eval()(images), targets).item()


TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


@ROWS
@INPUTS
@pytest.mark.parametrize("eps", ["4/255", "0.3", "1"])
def test_the_images_stay_within_eps_and_within_the_range_of_pixels(attack, input, eps) -> None:
    images, model = _images(input, dtype=torch.float32), _network(input.channels).float()
    before, spec = images.clone(), _spec(attack, eps)
    perturbed = Attacker(spec, input)(model, images, TARGETS)
    assert_close(images, before, **EXACT)
    assert (perturbed.shape, perturbed.dtype, perturbed.requires_grad) == (
        images.shape,
        torch.float32,
        False,
    )
    clean, changed = _pixels(images, input), _pixels(perturbed, input)
    largest = float((changed - clean).abs().max())
    assert 0.9 * spec.radius < largest <= spec.radius + 1e-6
    assert float(changed.min()) >= -1e-6
    assert float(changed.max()) <= 1 + 1e-6


@INPUTS
def test_the_range_of_pixels_is_that_of_black_and_white_images(input) -> None:
    transform = evaluation_transform(input)
    black, white = (transform(Image.new("RGB", (9, 9), color)) for color in ("black", "white"))
    batch = torch.stack([black, white])
    ball = LInfinityBall.around(batch, input, 1.0)
    far = torch.full_like(batch, 5.0)
    assert_close(ball.projected_step(batch, -far), torch.stack([black, black]), **FLOAT32)
    assert_close(ball.projected_step(batch, far), torch.stack([white, white]), **FLOAT32)


@ROWS
def test_the_model_is_left_as_it_was(attack) -> None:
    model = _network().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[5].bias.grad = torch.ones(4, dtype=torch.float64)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    Attacker(_spec(attack), RGB)(model, _images(RGB), TARGETS)
    assert_close(dict(model.state_dict()), state, **EXACT)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_close(grads, {"5.bias": torch.ones(4, dtype=torch.float64)}, **EXACT)


def test_the_model_is_left_as_it_was_after_an_error() -> None:
    model = _network().train()
    with pytest.raises(DataError, match="A label is 9"):
        Attacker(_spec(), RGB)(model, _images(RGB), TARGETS + 6)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@ROWS
@INPUTS
def test_on_a_linear_classifier_the_margin_falls_by_the_analytic_worst_case(attack, input) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(36 * input.channels, 2).double()
    model = nn.Sequential(nn.Flatten(), linear)
    images = _images(input, low=0.1, high=0.9)  # so that black and white are out of reach
    targets = TARGETS % 2
    perturbed = Attacker(_spec(attack), input)(model, images, targets)

    def margins(images):
        logits = model(images).detach()
        return (logits[:, 0] - logits[:, 1]) * (1 - 2 * targets)

    _, std = _statistics(input)
    of_pixels = (linear.weight[0] - linear.weight[1]).view(-1, *input.size).detach() / std
    fallen = margins(images) - margins(perturbed)
    assert_close(fallen, torch.full_like(fallen, EPS * float(of_pixels.abs().sum())), **FLOAT64)


@ROWS
def test_the_loss_rises(attack) -> None:
    model, images = _network().eval(), _images(RGB)
    perturbed = Attacker(_spec(attack), RGB)(model, images, TARGETS)
    assert _loss(model, perturbed, TARGETS) > _loss(model, images, TARGETS)


def test_more_steps_of_pgd_do_not_lower_the_loss_below_the_clean_one() -> None:
    model, images = _network().eval(), _images(RGB)
    losses = [_loss(model, images, TARGETS)]
    for steps in (1, 5, 20):
        spec = _spec("pgd", "0.1", steps=steps, step_size="0.02")
        losses.append(_loss(model, Attacker(spec, RGB)(model, images, TARGETS), TARGETS))
    assert losses[3] >= losses[0]
    assert losses[1] <= losses[2] <= losses[3]


@ROWS
def test_neither_the_batch_size_nor_what_was_drawn_before_changes_an_image(attack) -> None:
    model, images = _network().eval(), _images(RGB)
    whole = Attacker(_spec(attack), RGB)(model, images, TARGETS)
    torch.rand(3)
    state = torch.get_rng_state()
    for size in (1, 4):
        attacker = Attacker(_spec(attack), RGB)
        batches = zip(images.split(size), TARGETS.split(size), strict=True)
        parts = torch.cat([attacker(model, *batch) for batch in batches])
        assert attacker.images == 6
        assert_close(parts, whole, **FLOAT64)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seed_decides_where_pgd_starts() -> None:
    model, images = _network().eval(), _images(RGB)
    one, same, other = (
        Attacker(_spec("pgd", steps=1, attack_seed=seed), RGB)(model, images, TARGETS)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    start = Attacker(_spec("pgd", steps=1, step_size="1e-9"), RGB)(model, images, TARGETS)
    noise = (_pixels(start, RGB) - _pixels(images, RGB)) / EPS
    assert float(noise.abs().max()) <= 1 + 1e-6
    assert float(noise.std()) == pytest.approx(3**-0.5, rel=0.1)  # uniform, cut at black and white
    assert not torch.allclose(noise[0], noise[1])


class _Masked(nn.Module):
    """A linear classifier that lets a gradient through for some of the images only."""

    def __init__(self, *, through: int) -> None:
        super().__init__()
        self.linear = nn.Linear(108, 4).double()
        self.through = through

    def forward(self, images):
        images = torch.cat([images[: self.through], images[self.through :].detach()])
        return self.linear(images.flatten(1))


@ROWS
@pytest.mark.parametrize(("count", "percent"), [(19, None), (18, None), (17, 15), (0, 100)])
def test_zero_gradients_are_counted_and_above_a_tenth_noted(attack, count, percent) -> None:
    attacker = Attacker(_spec(attack), RGB)
    attacker(_Masked(through=count), _images(RGB, 20), torch.arange(20) % 4)
    assert attacker.zero_gradients == 20 - count
    expected = percent and (
        f"The gradient is zero on {percent} % of the images: the attack says little about them."
    )
    assert attacker.note == expected


def test_the_gradient_is_that_of_the_summed_cross_entropy() -> None:
    model, images = _network().eval(), _images(RGB)
    expected = images.clone().requires_grad_()
    F.cross_entropy(model(expected), TARGETS, reduction="sum").backward()
    with torch.no_grad():
        assert_close(input_gradient(model, images, TARGETS), expected.grad, **FLOAT64)


def test_a_gradient_that_is_not_a_number_is_an_error() -> None:
    class Root(nn.Module):
        def forward(self, images):
            return (images - images).flatten(1)[:, :4].sqrt()

    with pytest.raises(NonFiniteError, match="gradient with respect to the images is not a num"):
        Attacker(_spec(), RGB)(Root(), _images(RGB), TARGETS)


def test_evaluation_measures_the_perturbed_images_with_the_mapped_targets() -> None:
    model, images, seen = _network().train(), _images(RGB), []

    def perturb(given, batch, targets):
        seen.append((given, batch, targets.tolist()))
        return batch.flip(0)

    loader = [(images, torch.tensor([0, 1, 1, 0, 0, 1]))]
    result = evaluate_classification(model, loader, label_map=[3, 2], perturb=perturb)
    assert seen == [(model, images, [3, 2, 2, 3, 3, 2])]
    assert result.targets == (3, 2, 2, 3, 3, 2)
    assert result.predictions == tuple(model.eval()(images).argmax(1).flip(0).tolist())
    kept = evaluate_classification(model, loader, perturb=lambda model, images, targets: images)
    plain = evaluate_classification(model, loader)
    assert (kept.predictions, kept.loss) == (plain.predictions, plain.loss)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@ROWS
def test_the_gpu_attacks_the_same(attack) -> None:
    model, images = _network().eval(), _images(RGB)
    cpu = Attacker(_spec(attack), RGB)(model, images, TARGETS)
    gpu = Attacker(_spec(attack), RGB)(model.cuda(), images.cuda(), TARGETS.cuda())
    assert_close(gpu.cpu(), cpu, **FLOAT32)


def test_the_defaults_of_an_attack_are_filled_in() -> None:
    assert resolve_attack(AttackSpec()) is None
    assert _spec("fgsm").model_dump(exclude_none=True) == {"attack": "fgsm", "eps": "4/255"}
    pgd = _spec("pgd")
    assert (pgd.steps, pgd.attack_seed, pgd.step) == (10, 0, pytest.approx(EPS / 4))
    assert _spec("pgd", steps=5).step == pytest.approx(EPS / 2)
    assert _spec("pgd", step_size="1/255").step == 1 / 255
    assert (_spec("fgsm").title, pgd.title) == ("fgsm (eps 4/255)", "pgd (eps 4/255, 10 steps)")
    assert _spec("pgd", steps=1).title == "pgd (eps 4/255, 1 step)"


@pytest.mark.parametrize(
    ("text", "number"),
    [("4/255", 4 / 255), ("0.03", 0.03), (".5", 0.5), ("1e-2", 0.01), ("1", 1.0), (0.25, 0.25)],
)
def test_eps_is_a_fraction_or_a_decimal(text, number) -> None:
    assert AttackSpec(attack="fgsm", eps=text).radius == number
    assert AttackSpec(attack="pgd", step_size=text).step == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "it should be a number") for text in ("abc", "", "4/", "/255", "1/0", "4/255/2")),
        *(
            (text, "above 0 and at most 1")
            for text in ("0", "2", "-4/255", "nan", "inf", "inf/inf")
        ),
        ("__import__('os')", "it should be a number"),
    ],
)
def test_anything_else_is_refused(text, message) -> None:
    for name in ("eps", "step_size"):
        with pytest.raises(ValidationError, match=message):
            AttackSpec(**{name: text})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3}, "--steps has no effect without --attack"),
        ({"eps": "4/255"}, "--eps has no effect without --attack"),
        ({"step_size": "1/255"}, "--step-size has no effect without --attack"),
        ({"attack_seed": 0}, "--attack-seed has no effect without --attack"),
        ({"attack": "pgd"}, "--attack pgd does not say how far a pixel value may change"),
        ({"attack": "fgsm", "eps": "1", "steps": 3}, "--attack fgsm takes no --steps"),
        ({"attack": "fgsm", "eps": "1", "attack_seed": 0}, "takes no --attack-seed.*\n.*--eps"),
        ({"attack": "fgsm", "eps": "1", "step_size": "1"}, "choose --attack pgd"),
    ],
)
def test_options_without_effect_are_refused(options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        resolve_attack(AttackSpec(**options))


def test_an_unknown_attack_is_refused_and_known_ones_are_in_the_help() -> None:
    with pytest.raises(UnknownVariantError, match=r"no attack named 'pdg'\. Did you mean 'pgd'\?"):
        _spec("pdg")
    described = AttackSpec.model_fields["attack"].description
    assert all(row.name in described and row.summary.endswith(".") for row in ATTACKS)
