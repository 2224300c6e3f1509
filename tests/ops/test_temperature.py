"""The temperature of the likeliest labels, against scipy's minimizer."""

import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from tolerances import EXACT, FLOAT64
from torch.testing import assert_close

from covtool.errors import ArgumentError, NonFiniteError, ShapeError
from covtool.ops.temperature import (
    COLDEST,
    HOTTEST,
    fit_held_out,
    fit_temperature,
    held_out_loss,
    negative_log_likelihood,
)


def drawn(scale, *, images=400, classes=7, seed=0):
    """Logits, and labels that are drawn from their probabilities: the temperature of 1 is right."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return scale * logits, labels


def loss(logits, labels, temperature):
    return -log_softmax(logits.numpy() / temperature, axis=1)[range(len(labels)), labels].mean()


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 20.0, 300.0])
def test_it_is_the_minimum_that_scipy_finds(scale) -> None:
    logits, labels = drawn(scale)
    fit = fit_temperature(logits, labels)
    found = minimize_scalar(
        lambda inverse: loss(logits, labels, 1 / inverse),
        bounds=(0.1 / scale, 10 / scale),
        method="bounded",
        options={"xatol": 1e-9 / scale},
    )
    assert fit.temperature == pytest.approx(1 / found.x, rel=1e-5)
    assert fit.bound is None
    assert fit.images == 400
    assert loss(logits, labels, fit.temperature) <= found.fun + 1e-13


@pytest.mark.parametrize("scale", [0.3, 20.0])
def test_the_scale_of_the_logits_is_made_up_for(scale) -> None:
    logits, labels = drawn(1.0)
    plain = fit_temperature(logits, labels).temperature
    assert fit_temperature(scale * logits, labels).temperature == pytest.approx(scale * plain)
    assert fit_temperature(logits + 1e3, labels).temperature == pytest.approx(plain)
    assert plain == pytest.approx(1.0, abs=0.2)


def test_it_takes_few_passes_in_small_parts(monkeypatch) -> None:
    logits, labels = drawn(3.0)
    whole = fit_temperature(logits, labels).temperature
    parts, softmax = [], torch.Tensor.softmax
    monkeypatch.setattr(
        torch.Tensor, "softmax", lambda part, dim: parts.append(len(part)) or softmax(part, dim)
    )
    monkeypatch.setattr("covtool.ops.temperature._CHUNK", 7 * 100)
    assert fit_temperature(logits, labels).temperature == pytest.approx(whole, rel=1e-11)
    assert max(parts) == 100
    assert sum(parts) < 30 * len(logits)


def test_half_precision_is_exact_in_float64_and_nothing_is_changed() -> None:
    logits, labels = drawn(1.0)
    half = logits.half()
    before = half.clone()
    fitted = fit_temperature(half, labels)
    assert fitted == fit_temperature(half.double(), labels)
    assert_close(half, before, **EXACT)


@pytest.mark.parametrize("images", [3, 40, 1000])
def test_without_a_mistake_it_is_as_sure_as_the_rule_of_succession(images) -> None:
    labels = torch.arange(images) % 3
    logits = torch.nn.functional.one_hot(labels, 3).double()
    fit = fit_temperature(logits, labels)
    assert fit.bound == "surest"
    sure = (logits / fit.temperature).softmax(1).amax(1).mean()
    assert_close(sure, torch.tensor(1 - 1 / (images + 2), dtype=torch.float64), **FLOAT64)


@pytest.mark.parametrize("scale", [5.0, 50.0])
def test_images_without_a_mistake_never_make_answers_less_sure(scale) -> None:
    labels = torch.arange(6) % 3
    logits = scale * torch.nn.functional.one_hot(labels, 3).double()
    fit = fit_temperature(logits, labels)
    assert (fit.temperature, fit.bound) == (1.0, "surest")


def test_a_mistake_makes_sure_answers_less_sure_however_few_there_are() -> None:
    logits = torch.tensor([[50.0, 0.0], [0.0, 50.0], [0.0, 50.0], [2.0, 0.0]])
    fit = fit_temperature(logits, torch.tensor([0, 1, 1, 1]))
    assert fit.bound is None
    assert fit.temperature > 1


@pytest.mark.parametrize(
    "logits",
    [torch.zeros(6, 3), torch.tensor([[1.0, 0.0, 0.0]]).expand(6, 3)],
    ids=["equal", "always wrong"],
)
def test_logits_that_say_nothing_are_said_to(logits) -> None:
    fit = fit_temperature(logits, torch.tensor([1, 2, 1, 2, 1, 2]))
    assert (fit.bound, fit.temperature) == ("hottest", HOTTEST)


def test_a_huge_logit_neither_overflows_nor_leaves_the_bounds() -> None:
    logits, labels = drawn(1.0)
    for scale in (1e-30, 1e30):
        assert COLDEST <= fit_temperature(scale * logits, labels).temperature <= HOTTEST


@pytest.mark.parametrize(
    ("logits", "labels", "error"),
    [
        (torch.zeros(3), torch.zeros(3).long(), ShapeError),
        (torch.zeros(0, 2), torch.zeros(0).long(), ShapeError),
        (torch.zeros(3, 2), torch.zeros(2).long(), ShapeError),
        (torch.zeros(3, 1), torch.zeros(3).long(), ArgumentError),
        (torch.full((3, 2), torch.inf), torch.zeros(3).long(), NonFiniteError),
    ],
)
def test_what_has_no_temperature_is_refused(logits, labels, error) -> None:
    with pytest.raises(error):
        fit_temperature(logits, labels)


def test_the_likelihood_is_that_of_scipy() -> None:
    logits, labels = drawn(3.0)
    for temperature in (0.2, 1.0, 7.0):
        found = negative_log_likelihood(logits.float(), labels, temperature)
        expected = loss(logits.float().double(), labels, temperature)
        assert_close(found.mean().item(), expected, **FLOAT64)


def test_the_loss_of_held_out_images_is_that_of_those_the_temperature_was_chosen_on(
    monkeypatch,
) -> None:
    logits, labels = drawn(3.0)
    fit = fit_held_out(logits, labels)
    found = held_out_loss(logits, labels, fit)
    assert found == pytest.approx(loss(logits, labels, fit.temperature), rel=1e-12)
    # It is the same whatever the scale, and less than at any other temperature.
    again = held_out_loss(20 * logits, labels, fit_held_out(20 * logits, labels))
    assert again == pytest.approx(found, rel=1e-9)
    assert found < min(loss(logits, labels, f * fit.temperature) for f in (0.9, 1.1))
    monkeypatch.setattr("covtool.ops.temperature._CHUNK", 7 * 30)
    assert held_out_loss(logits, labels, fit) == pytest.approx(found, rel=1e-12)
    monkeypatch.setattr("covtool.ops.temperature.MOST_LOGITS", 7 * 100)  # every fourth image
    few = fit_held_out(logits, labels)
    expected = loss(logits[::4], labels[::4], few.temperature)
    assert few.images == 100
    assert held_out_loss(logits, labels, few) == pytest.approx(expected, rel=1e-12)
