"""Losses on embeddings of a batch that several processes share: those of one that has it all."""

import numpy as np
import pytest
import torch
from process_group import run_together
from tolerances import EXACT, FLOAT64
from torch import nn
from torch.testing import assert_close

from covtool.processes import ALONE, joined
from covtool.specs import ObjectiveSpec, TrainingSpec
from covtool.training.parts.objective import EmbeddedOutputs, Objective, gather_embeddings

LOSS = "ce+0.5*triplet+0.1*circle"
LABELS = torch.tensor([0, 1, 0, 2, 1, 2, 0, 1])


def step(processes, part):
    """The weighted loss of a part of the batch, and the gradient that DDP would bring together."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(len(LABELS), 5, generator=generator, dtype=torch.float64)[part]
    torch.manual_seed(1)
    features, classifier = (nn.Linear(*size, dtype=torch.float64) for size in ((5, 4), (4, 3)))
    embeddings = features(images).tanh()
    objective = Objective(ObjectiveSpec(loss=LOSS), TrainingSpec(), 3, processes)
    loss = objective(EmbeddedOutputs(classifier(embeddings), embeddings), LABELS[part])
    share = processes.world * len(images) / len(LABELS)
    (share * loss).backward()
    gradients = [features.weight.grad, classifier.weight.grad]
    processes.average_(gradients)
    mean = processes.sum(share * loss.item())[0] / processes.world
    return mean, [gradient.numpy() for gradient in gradients]


def share_a_step(rank, cuts):
    with joined(timeout_s=60) as processes:
        return step(processes, slice(cuts[rank], cuts[rank + 1]))


@pytest.mark.parametrize("cuts", [(0, 4, 8), (0, 5, 8), (0, 3, 6, 8)], ids=str)
def test_processes_have_the_loss_and_the_gradient_of_one(cuts) -> None:
    expected = step(ALONE, slice(None))
    for got in run_together(share_a_step, cuts, world=len(cuts) - 1):
        assert got[0] == pytest.approx(expected[0], rel=1e-10)
        for mine, whole in zip(got[1], expected[1], strict=True):
            np.testing.assert_allclose(mine, whole, **FLOAT64)


def test_alone_everything_stays_as_it_is() -> None:
    embeddings, labels = torch.randn(3, 2, requires_grad=True), torch.arange(3)
    same, targets = gather_embeddings(embeddings, labels, ALONE)
    assert same is embeddings
    assert targets is labels
    (own,) = ALONE.tensors(embeddings)
    assert_close(own, embeddings.detach(), **EXACT)
    assert not own.requires_grad
