import pytest
import torch
from tolerances import EXACT
from torch.nn import functional as F

from covtool.errors import ArgumentError
from covtool.ops.circle import circle_loss
from covtool.ops.triplet import batch_hard_triplet
from covtool.specs import ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES
from covtool.training.parts.objective import BUILDERS, EmbeddedOutputs, Objective


def made(training=None, loss="ce", **objective):
    spec = ObjectiveSpec(loss=loss, **objective)
    return Objective(spec, training or TrainingSpec(), 3)


def batch():
    torch.manual_seed(0)
    return torch.rand(6, 3, 8, 8), torch.arange(6) % 3, torch.randn(6, 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_with_label_smoothing(smoothing):
    images, labels, logits = batch()
    objective = made(TrainingSpec(smoothing=smoothing))
    same, targets = objective.prepare(images, labels)
    assert same is images
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(objective(logits, targets), expected)


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}]
)
def test_mixed_targets_are_distributions(settings):
    images, labels, logits = batch()
    objective = made(TrainingSpec(**settings))
    before = images.clone()
    mixed, targets = objective.prepare(images, labels)
    assert torch.equal(images, before)
    assert mixed.shape == images.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert objective(logits, targets).isfinite()


def test_mixing_stops_at_its_off_epoch():
    images, labels, _ = batch()
    objective = made(TrainingSpec(mixup=0.5, mixup_off_epoch=2, smoothing=0.0))
    objective.set_epoch(1)
    assert not torch.equal(objective.prepare(images.clone(), labels)[0], images)
    objective.set_epoch(2)
    unmixed, targets = objective.prepare(images.clone(), labels)
    assert torch.equal(unmixed, images)
    assert torch.equal(targets.argmax(1), labels)


def test_an_odd_last_batch_is_mixed_without_its_last_image():
    images, labels, _ = batch()
    mixed, targets = made(TrainingSpec(mixup=0.5)).prepare(images[:5].clone(), labels[:5])
    assert len(mixed) == len(targets) == 4


def embedded():
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("row", list(LOSSES), ids=lambda row: row.name)
def test_every_loss_of_the_table_has_a_function_of_what_it_needs(row):
    assert tuple(BUILDERS) == LOSSES.names
    _, labels, logits = batch()
    logits.requires_grad_()
    embeddings = embedded().requires_grad_()
    made(loss=row.name)(EmbeddedOutputs(logits, embeddings), labels).backward()
    moved, still = (logits, embeddings) if row.needs == "logits" else (embeddings, logits)
    assert moved.grad.abs().max() > 0
    assert still.grad is None


@pytest.mark.parametrize("row", list(LOSSES), ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_outputs_give_a_float32_loss(row, dtype):
    _, labels, logits = batch()
    outputs = EmbeddedOutputs(logits.to(dtype), embedded().to(dtype))
    loss = made(loss=row.name)(outputs, labels)
    assert loss.dtype == torch.float32
    exact = made(loss=row.name)(EmbeddedOutputs(*(output.float() for output in outputs)), labels)
    torch.testing.assert_close(loss, exact, **EXACT)


def test_a_single_cross_entropy_is_bit_identical_to_torchs():
    _, labels, logits = batch()
    got, expected = (
        torch.autograd.grad(loss(x, labels), x)[0]
        for loss in (made(TrainingSpec(smoothing=0.0)), F.cross_entropy)
        for x in [logits.clone().requires_grad_()]
    )
    torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_bce_is_of_each_class_against_the_rest(smoothing):
    _, labels, logits = batch()
    targets = F.one_hot(labels, 3) * (1 - smoothing) + smoothing / 3
    chances = logits.sigmoid()
    expected = -(targets * chances.log() + (1 - targets) * (1 - chances).log()).mean()
    got = made(TrainingSpec(smoothing=smoothing), loss="bce")(logits, labels)
    torch.testing.assert_close(got, expected)


def test_bce_takes_the_shares_of_mixed_images():
    images, labels, logits = batch()
    objective = made(TrainingSpec(mixup=0.5), loss="bce")
    _, targets = objective.prepare(images, labels)
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(objective(logits, targets), expected)


def test_a_sum_has_its_terms_with_their_weights():
    _, labels, logits = batch()
    settings = {"triplet_margin": 0.2, "circle_margin": 0.4, "circle_scale": 8.0}
    outputs = EmbeddedOutputs(logits, embedded())
    objective = made(loss="2*ce+0.5*triplet+.25*circle", **settings)
    terms = objective.terms(outputs, labels)
    assert list(terms) == ["ce", "triplet", "circle"]
    assert_close = torch.testing.assert_close
    assert_close(terms["ce"], F.cross_entropy(logits, labels, label_smoothing=0.1))
    assert_close(terms["triplet"], batch_hard_triplet(outputs[1], labels, margin=0.2))
    assert_close(terms["circle"], circle_loss(outputs[1], labels, margin=0.4, scale=8.0))
    expected = 2 * terms["ce"] + terms["triplet"] / 2 + terms["circle"] / 4
    assert_close(objective(outputs, labels), expected)


def test_what_stands_where_in_a_tuple_is_never_guessed():
    _, labels, logits = batch()
    for loss in ("ce", "triplet"):
        with pytest.raises(ArgumentError, match="not one tensor of logits"):
            made(loss=loss)((logits, embedded()), labels)
