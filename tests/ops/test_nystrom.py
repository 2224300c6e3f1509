"""The subspace that rows span, and ridge regressions in it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ShapeError
from covtool.ops.nystrom import Subspace, landmark_rows
from covtool.ops.ridge import fit_ridge


def rows(count: int, features: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, features, generator=generator, dtype=torch.float64) + 5


def test_directions_are_an_orthonormal_basis_of_the_differences() -> None:
    landmarks = rows(9, 40)
    subspace = Subspace.spanned_by_(landmarks.clone())
    assert subspace.directions.shape == (8, 40)
    assert_close(subspace.directions @ subspace.directions.mT, torch.eye(8).double())
    differences = landmarks - landmarks[0]
    assert_close(subspace.apply(differences) @ subspace.directions, differences)


def test_with_all_rows_as_landmarks_the_regression_is_the_exact_one() -> None:
    features = rows(30, 50)
    targets = torch.nn.functional.one_hot(torch.arange(30) % 3)
    exact = fit_ridge(features, targets)
    subspace = Subspace.spanned_by_(features.clone())
    fit = fit_ridge(subspace.apply(features), targets)
    assert_close(fit.left_out, exact.left_out, rtol=1e-7, atol=1e-8)
    assert_close(subspace.transpose(fit.weight), exact.weight, rtol=1e-6, atol=1e-8)
    assert_close(fit.bias, exact.bias, rtol=1e-6, atol=1e-6)


def test_weights_of_projections_are_weights_of_features() -> None:
    subspace, weight = Subspace.spanned_by_(rows(9, 5000).float()), rows(2, 8)
    features = rows(6, 5000)
    expected = (features @ subspace.directions.double().mT) @ weight.mT
    assert_close(features @ subspace.transpose(weight).mT, expected)


def test_equal_landmarks_span_nothing() -> None:
    assert Subspace.spanned_by_(torch.full((4, 6), 0.1)).directions.shape == (0, 6)


def test_repeated_landmarks_do_not_count() -> None:
    landmarks = rows(4, 6)
    assert Subspace.spanned_by_(landmarks.repeat(3, 1)).directions.shape == (3, 6)


def test_landmarks_are_ascending_places_and_the_same_each_time() -> None:
    chosen = landmark_rows(100, 20)
    assert chosen.tolist() == sorted({*chosen.tolist()})
    assert len(chosen) == 20
    assert chosen.max() < 100
    assert_close(chosen, landmark_rows(100, 20), rtol=0, atol=0)
    assert landmark_rows(5, 20).tolist() == [0, 1, 2, 3, 4]


def test_what_are_no_rows_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(m \+ 1, d\)"):
        Subspace.spanned_by_(torch.rand(4))
