"""Answers for images: those of a plain pass over the same images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evaluated_toys import evaluated_toy
from PIL import Image
from torch.nn import functional as F

import covtool
from covtool.evaluation.evaluate import evaluate
from covtool.specs import AttackSpec


@pytest.fixture(scope="module")
def request_of_toy(tmp_path_factory):
    return evaluated_toy(tmp_path_factory.mktemp("answers"))


def test_answers_are_those_of_a_plain_pass(request_of_toy) -> None:
    done = evaluate(request_of_toy)
    model = covtool.load(request_of_toy.source.name).eval()
    batch = torch.stack([model.transform(Image.open(path)) for path in done.paths])
    with torch.no_grad():
        logits = model(batch).double()
    temperature = done.result.probabilities.temperature
    logs = F.log_softmax(logits / temperature, 1)
    answers, targets = done.answers, torch.tensor(done.result.targets)
    assert [path.parent.name for path in done.paths] == [
        done.result.class_names[target] for target in done.result.targets
    ]
    torch.testing.assert_close(answers.loss, F.nll_loss(logs, targets, reduction="none"))
    torch.testing.assert_close(answers.probability, logs.exp().max(1).values)
    assert answers.given.tolist() == list(done.result.predictions)
    assert answers.right.tolist() == list(done.result.targets)
    order = logs.argsort(1, descending=True)
    assert answers.rank.tolist() == (order == targets[:, None]).int().argmax(1).tolist()
    assert float(answers.loss.mean()) == pytest.approx(done.result.probabilities.nll, rel=1e-12)
    assert answers.directions.float().norm(dim=1).tolist() == pytest.approx([1] * 9, abs=1e-3)


def test_answers_under_attack_are_those_of_its_figures(request_of_toy) -> None:
    done = evaluate(replace(request_of_toy, attack=AttackSpec(attack="fgsm", eps=4 / 255)))
    assert done.attacked_answers.given.tolist() == list(done.attacked.predictions)
    assert float(done.attacked_answers.loss.mean()) > float(done.answers.loss.mean())


def test_nothing_is_kept_without_being_asked_for(request_of_toy) -> None:
    done = evaluate(replace(request_of_toy, keep_answers=False))
    assert (done.answers, done.attacked_answers, done.opened) == (None, None, None)
    assert len(done.paths) == 9 and all(isinstance(path, Path) for path in done.paths)
