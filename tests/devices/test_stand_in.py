"""Code that looks at values on a device that is not the CPU, with the CPU's numbers to compare."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import stand_in_backend
import torch
from test_fake_step import assembled, converted  # noqa: F401 -- a fixture
from torch import nn
from torch.testing import assert_close

from covtool.ops.decorrelation import (
    correlation,
    decorrelate,
    fold_classifier,
    match_rows,
    smallest_eigenvalue_ratio,
)
from covtool.ops.k_reciprocal import reciprocal
from covtool.ops.ranking import first_of, ranks_of
from covtool.ops.spectral import matrix_sqrt_eigh
from covtool.training.parts import assembly
from covtool.training.parts.schedule import Schedule
from covtool.training.step.guarded_update import guarded_update_

# Registration is for good, and torch's engine counts devices once, when the first gradients pass.
pytestmark = pytest.mark.alone


def to_device(tensor):
    return tensor.to(stand_in_backend.NAME)


MATRIX = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
FUNCTIONS = {
    "correlation": (correlation, MATRIX),
    "smallest eigenvalue": (smallest_eigenvalue_ratio, MATRIX),
    "decorrelation": (decorrelate, MATRIX),
    "matching": (match_rows, MATRIX, OTHER),
    "folding": (fold_classifier, OTHER[:, :4], MATRIX, OTHER),
    "ranks": (ranks_of, MATRIX, torch.tensor([[2, 1, 0]]).expand(4, 3)),
    "first": (lambda distances: first_of(distances, 3), MATRIX),
    "reciprocal neighbors": (
        lambda near, rows: reciprocal(near, rows, 2),
        torch.tensor([[0, 1, 2], [1, 0, 3], [2, 3, 0], [3, 2, 1]]),
        torch.arange(4),
    ),
    "root": (matrix_sqrt_eigh, (MATRIX @ MATRIX.mT)[None]),
}


def test_functions_that_look_at_values_give_the_numbers_of_the_cpu():
    mode = stand_in_backend.registered()
    for name, (function, *given) in FUNCTIONS.items():
        expected = function(*given)
        with mode:
            found = function(*map(to_device, given))
            for one, same in zip(_flat(found), _flat(expected), strict=True):
                assert one.device.type == stand_in_backend.NAME, name
                assert_close(one.to("cpu"), same, msg=name)


def _flat(result):
    return result if isinstance(result, tuple | list) else (result,)


@pytest.mark.parametrize(
    "settings",
    [{"opt": "sgd", "gc": True}, {"opt": "adamw", "model_ema": True, "clip_grad": 1.0}],
    ids=str,
)
def test_an_update_gives_the_weights_of_the_cpu(converted, tmp_path, settings):  # noqa: F811
    def updated(device):
        parts = assembled(converted, tmp_path / device, warmup_epochs=0, **settings)
        parts.begin_epoch(0)
        for model in parts.models:
            model.to(device)
        optimizer = assembly._optimizer(parts.model, parts.groups, parts.request)
        parts = replace(
            parts,
            optimizer=optimizer,
            centralization=assembly._centralization(optimizer, parts.model, parts.training),
            schedule=Schedule(optimizer, parts.training, parts.phases.phases, updates_per_epoch=3),
            device=torch.device(device),
        )
        generator = torch.Generator().manual_seed(0)
        batch = torch.rand(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 0])
        state = SimpleNamespace(updates=0, micro_batch=None)
        results = []
        for _ in range(2):
            run = SimpleNamespace(parts=parts, state=state, observer=None)
            results.append(guarded_update_(run, [batch]))
            state.updates += 1
        weights = {n: t.to("cpu") for m in parts.models for n, t in m.state_dict().items()}
        assert not any(result.problem for result in results)
        return [(result.loss, result.grad_norm) for result in results], weights

    mode = stand_in_backend.registered()
    torch.manual_seed(0)
    expected, weights = updated("cpu")
    with mode:
        torch.manual_seed(0)
        found, there = updated(stand_in_backend.NAME)
    for one, same in zip(found, expected, strict=True):
        assert one == pytest.approx(same, rel=1e-5)
    assert_close(there, weights)


def test_two_devices_do_not_meet():
    with stand_in_backend.registered():
        layer = nn.Linear(3, 2).to(stand_in_backend.NAME)
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            layer(torch.zeros(1, 3))
