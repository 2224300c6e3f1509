import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from covtool.errors import DataError, NonFiniteError, ShapeError
from covtool.evaluation import evaluate_classification


class _Replay(nn.Module):
    """Returns prepared logits, row by row, whatever the images are."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, images):
        return self.logits[images[:, 0, 0, 0].long()]


def _loader(labels, batch_size=7):
    images = torch.arange(len(labels), dtype=torch.float32).view(-1, 1, 1, 1)
    return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))


def _random(num_images=50, num_classes=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # Few different values: many ties.
    logits = torch.randint(0, 6, (num_images, num_classes), generator=generator).float()
    return logits, torch.randint(0, num_classes, (num_images,), generator=generator)


def _ranked(row):
    """Classes from the best to the worst; of equals the lower index comes first."""
    return sorted(range(len(row)), key=lambda k: (-row[k], k))


def test_every_figure_equals_a_count_by_hand() -> None:
    logits, labels = _random()
    rows, targets = logits.tolist(), labels.tolist()
    result = evaluate_classification(_Replay(logits), _loader(labels))
    best = [_ranked(row)[0] for row in rows]
    assert result.predictions == tuple(best)
    assert result.targets == tuple(targets)
    assert result.images == 50
    assert result.top_1 == 100 * sum(b == t for b, t in zip(best, targets, strict=True)) / 50
    in_five = sum(t in _ranked(row)[:5] for row, t in zip(rows, targets, strict=True))
    assert result.top_5 == 100 * in_five / 50
    losses = [
        math.log(sum(map(math.exp, row))) - row[t] for row, t in zip(rows, targets, strict=True)
    ]
    assert result.loss == pytest.approx(sum(losses) / 50, rel=1e-5)
    matrix = result.confusion_matrix()
    for row in range(8):
        for column in range(8):
            pairs = zip(targets, best, strict=True)
            assert matrix[row][column] == sum(pair == (row, column) for pair in pairs)
    for row in result.per_class:
        index = int(row.name)
        assert row.images == sum(matrix[index])
        assert row.accuracy == 100 * matrix[index][index] / row.images
    off = sorted((-matrix[i][j], i, j) for i in range(8) for j in range(8) if i != j)
    shown = [(-c.images, int(c.actual), int(c.predicted)) for c in result.most_confused(6)]
    assert shown == off[:6]


def test_the_batch_size_changes_nothing() -> None:
    logits, labels = _random(seed=1)
    one, other = (
        evaluate_classification(_Replay(logits), _loader(labels, size)) for size in (1, 50)
    )
    assert (one.predictions, one.top_1, one.top_5) == (other.predictions, other.top_1, other.top_5)
    assert one.loss == pytest.approx(other.loss)


@pytest.mark.parametrize(("num_classes", "has_top_5"), [(2, False), (5, False), (6, True)])
def test_top_5_needs_six_classes(num_classes, has_top_5) -> None:
    logits, labels = _random(num_classes=num_classes)
    result = evaluate_classification(_Replay(logits), _loader(labels))
    assert (result.top_5 is not None) == has_top_5


def test_labels_are_mapped_to_the_outputs_and_classes_without_images_left_out() -> None:
    logits = torch.eye(6)[[4, 4, 1]]
    result = evaluate_classification(
        _Replay(logits),
        _loader(torch.tensor([0, 0, 1])),
        class_names=list("abcdef"),
        label_map=[4, 2],
    )
    assert result.targets == (4, 4, 2)
    assert [(row.name, row.images, row.accuracy) for row in result.per_class] == [
        ("c", 1, 0.0),
        ("e", 2, 100.0),
    ]
    assert [(c.actual, c.predicted, c.images) for c in result.most_confused(9)] == [("c", "b", 1)]


def test_the_model_runs_in_eval_mode_and_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loader = [(torch.randn(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1]))]
    model.train()
    first, second = (evaluate_classification(model, loader) for _ in range(2))
    assert model.training
    assert first.loss == second.loss
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_counted_is_refused() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(NonFiniteError, match="logits are not numbers"):
        evaluate_classification(_Replay(torch.full((2, 3), torch.nan)), _loader(labels))
    with pytest.raises(DataError, match="A label is 1, but the model has 1 outputs"):
        evaluate_classification(_Replay(torch.zeros(2, 1)), _loader(labels))
    with pytest.raises(DataError, match="no images to evaluate on"):
        evaluate_classification(_Replay(torch.zeros(2, 1)), [])
    with pytest.raises(DataError, match="2 class names, but the model has 3 outputs"):
        evaluate_classification(_Replay(torch.zeros(2, 3)), _loader(labels), class_names="ab")
    with pytest.raises(ShapeError, match="one tensor of logits"):
        evaluate_classification(nn.Identity(), _loader(labels))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_counts_the_same() -> None:
    logits, labels = _random()
    cpu = evaluate_classification(_Replay(logits), _loader(labels))
    gpu = evaluate_classification(_Replay(logits), _loader(labels), device="cuda")
    assert (cpu.predictions, cpu.top_5) == (gpu.predictions, gpu.top_5)
