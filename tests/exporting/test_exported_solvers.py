"""Heads that need a solver, and the iterations that stand for it."""

import pytest
import torch
from exported_models import head, model_of
from torch.testing import assert_close

from covtool.errors import SurgeryError
from covtool.exporting.solvers import (
    damped_trace,
    largest_eigenvalue,
    newton_schulz_form,
    solver_of,
    solvers_in,
    without_solvers,
)
from covtool.variants import HEADS

FEATURES = torch.rand(3, 8, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pooling(name: str, **changes: object) -> torch.nn.Module:
    spec = head(name, reduction="none", **changes)
    return HEADS[name].build(8, spec).double().eval()


def matrices(scale: float) -> torch.Tensor:
    factor = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return scale * factor @ factor.mT


NEEDY = tuple(n for n in HEADS.names if solver_of(pooling(n)) is not None)


@pytest.mark.parametrize("name", HEADS.names)
def test_eigendecompositions_and_linear_solvers_are_seen(name: str) -> None:
    solver = solver_of(pooling(name))
    if "gradient" in HEADS[name].options:
        assert "eigh" in solver
    else:
        assert ("solve" in solver) if name == "mpa" else solver is None


@pytest.mark.parametrize("name", [n for n in NEEDY if n != "logm"])
def test_newton_schulz_approaches_what_the_solver_gives(name: str) -> None:
    exact = pooling(name, head_dtype="float64") if name != "mpa" else pooling(name, degree=20)
    _, form = newton_schulz_form(exact, 40)
    with torch.no_grad():
        wanted, got = exact.matrix(FEATURES), form(FEATURES)
    assert got.shape == wanted.shape
    # The degree of a Padé approximant bounds how close it comes itself.
    assert_close(got, wanted, rtol=0, atol=(1e-4 if name == "mpa" else 1e-7) * float(wanted.norm()))


@pytest.mark.parametrize("name", [n for n in NEEDY if n != "logm"])
def test_form_of_a_map_without_variance_is_finite(name: str) -> None:
    _, form = newton_schulz_form(pooling(name), 15)
    assert form(torch.zeros(2, 8, 3, 3)).isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_spectral_numbers_are_those_of_the_eigenvalues(scale: float) -> None:
    gram = matrices(scale)
    eigenvalues = torch.linalg.eigvalsh(gram)
    assert_close(largest_eigenvalue(gram)[:, 0, 0], eigenvalues[:, -1], rtol=1e-6, atol=0)
    wanted = (eigenvalues * torch.exp(-2 * eigenvalues)).sum(dim=1)
    assert_close(damped_trace(gram)[:, 0, 0], wanted, rtol=1e-6, atol=1e-8 * max(scale, 1))


def test_logarithm_has_no_form() -> None:
    with pytest.raises(SurgeryError, match="log_covariance, which has no Newton-Schulz form"):
        newton_schulz_form(pooling("logm"), 15)


def test_other_powers_than_the_root_have_no_form() -> None:
    with pytest.raises(SurgeryError, match=r"to the power 0\.3, which has no"):
        newton_schulz_form(pooling("mpn", alpha=0.3), 15)


def test_model_stays_as_it_is_and_its_copy_needs_no_solver() -> None:
    model = model_of(head("mpn", fuse="gap"))
    found = solvers_in(model)
    assert list(found.values()) == ["torch.linalg.eigh"]
    changed, replaced = without_solvers(model, found, 15)
    assert solvers_in(model) == found
    assert not solvers_in(changed)
    assert list(replaced.values()) == ["power_covariance"]
