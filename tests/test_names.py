"""Names that users import stay where they are, and take what they are documented to take."""

from importlib import import_module
from inspect import signature
from typing import Any

import pytest
import torch

import covtool
from covtool import ops

NAMES = {
    "covtool": ("load", "identify"),
    "covtool.surgery": (
        *("plan_head", "apply_head", "plan_last_stride", "apply_last_stride"),
        *("plan_convolutions", "apply_convolutions", "plan_eigenlayer", "apply_eigenlayer"),
    ),
    "covtool.ops": (
        *("covariance_pool", "matrix_sqrt_newton_schulz", "matrix_sqrt_eigh", "isqrt_covariance"),
        *("triu_vec", "decorrelate", "correlation", "centralize_gradient"),
    ),
    "covtool.layers": ("CovariancePooling", "DecoupledConv2d", "Eigenlayer"),
    "covtool.training": ("centralize_gradients",),
    "covtool.evaluation": ("evaluate_classification", "evaluate_retrieval"),
}

NAMED = {
    ops.isqrt_covariance: {"num_iterations": 5},
    ops.matrix_sqrt_newton_schulz: {"num_iterations": 5},
    ops.matrix_sqrt_eigh: {"gradient": "exact"},
}
"""Arguments that are given by name only, with their defaults."""


@pytest.mark.parametrize("module", NAMES)
def test_names_that_stay_put_are_there(module: str) -> None:
    for name in NAMES[module]:
        assert callable(getattr(import_module(module), name)), name


def test_public_names_of_the_package_can_all_be_had() -> None:
    for name in covtool.__all__:
        assert getattr(covtool, name) is not None, name


@pytest.mark.parametrize("op", NAMED, ids=lambda op: op.__name__)
def test_arguments_have_the_names_and_defaults_that_they_are_documented_with(op: Any) -> None:
    given = signature(op).parameters
    for name, default in NAMED[op].items():
        assert (given[name].kind, given[name].default) == (given[name].KEYWORD_ONLY, default)


def test_ops_take_and_give_the_documented_shapes() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    cov = ops.covariance_pool(features)
    assert cov.shape == ops.isqrt_covariance(features, num_iterations=5).shape == (2, 3, 3)
    assert ops.matrix_sqrt_newton_schulz(cov, num_iterations=5).shape == (2, 3, 3)
    assert ops.matrix_sqrt_eigh(cov, gradient="exact").shape == (2, 3, 3)
    assert ops.triu_vec(cov).shape == (2, 6)
    weight = torch.rand(3, 7, generator=generator)
    assert ops.decorrelate(weight).shape == (3, 7)
    assert 1 / 3 <= ops.correlation(weight) < 1
    assert ops.centralize_gradient(weight).sum(dim=1).abs().max() < 1e-6


def test_centralizing_takes_an_optimizer_first() -> None:
    from covtool.training import centralize_gradients

    assert next(iter(signature(centralize_gradients).parameters)) == "optimizer"
