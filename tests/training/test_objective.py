import pytest
import torch
from torch.nn import functional as F

from covtool.specs import TrainingSpec
from covtool.training.objective import Objective


def batch():
    torch.manual_seed(0)
    return torch.rand(6, 3, 8, 8), torch.arange(6) % 3, torch.randn(6, 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_with_label_smoothing(smoothing):
    images, labels, logits = batch()
    objective = Objective(TrainingSpec(smoothing=smoothing), 3)
    same, targets = objective.prepare(images, labels)
    assert same is images
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(objective(logits, targets), expected)


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}]
)
def test_mixed_targets_are_distributions(settings):
    images, labels, logits = batch()
    objective = Objective(TrainingSpec(**settings), 3)
    before = images.clone()
    mixed, targets = objective.prepare(images, labels)
    assert torch.equal(images, before)
    assert mixed.shape == images.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert objective(logits, targets).isfinite()


def test_mixing_stops_at_its_off_epoch():
    images, labels, _ = batch()
    objective = Objective(TrainingSpec(mixup=0.5, mixup_off_epoch=2, smoothing=0.0), 3)
    objective.set_epoch(1)
    assert not torch.equal(objective.prepare(images.clone(), labels)[0], images)
    objective.set_epoch(2)
    unmixed, targets = objective.prepare(images.clone(), labels)
    assert torch.equal(unmixed, images)
    assert torch.equal(targets.argmax(1), labels)


def test_an_odd_last_batch_is_mixed_without_its_last_image():
    images, labels, _ = batch()
    mixed, targets = Objective(TrainingSpec(mixup=0.5), 3).prepare(images[:5].clone(), labels[:5])
    assert len(mixed) == len(targets) == 4


def test_half_precision_logits_give_a_float32_loss():
    _, labels, logits = batch()
    assert Objective(TrainingSpec(), 3)(logits.half(), labels).dtype == torch.float32
