"""The record of an average in a history: what it answers for its sources, and its words."""

import pytest

from covtool.specs.provenance import (
    AverageSource,
    AverageStep,
    ConversionStep,
    InitialWeightsStep,
    OperationRecord,
    Provenance,
    SavedStateStep,
    TrainingStep,
    phrase,
)
from covtool.specs.training_history import trained_as_they_are, trained_in_boxes, was_trained

CONVERTED = ConversionStep(source="a.pth")
EIGENLAYER = ConversionStep(
    source="a.pth", operations=(OperationRecord(operation="eigenlayer", features=8),)
)
TRAINED = TrainingStep(command="finetune", data="cars", epochs=3, planned_epochs=3, opt="sgd")
SOURCES = (
    AverageSource(name="a", weight=0.25, history=("finetune",)),
    AverageSource(name="b", weight=0.75),
)


def step(**fields):
    return AverageStep(**{"method": "uniform", "sources": SOURCES, **fields})


@pytest.mark.parametrize(
    ("steps", "ever", "as_they_are", "since_eigenlayer"),
    [
        ((TRAINED, step()), False, False, False),  # it speaks for its sources
        ((CONVERTED, step(trained=("ever",))), True, False, False),
        ((CONVERTED, step(trained=("ever", "conversion"))), True, True, False),
        ((EIGENLAYER, step(trained=("ever", "eigenlayer"))), True, False, True),
        ((step(trained=("ever", "conversion")), CONVERTED), True, False, False),
        ((step(trained=("ever", "conversion", "eigenlayer")), EIGENLAYER), True, False, False),
        ((step(), TRAINED), True, True, True),
        ((step(trained=("ever",)), SavedStateStep(file="x", epochs=0)), True, False, False),
        ((step(trained=("ever",)), InitialWeightsStep(file="x")), False, False, False),
    ],
)
def test_an_average_was_trained_as_its_sources_were(
    steps, ever, as_they_are, since_eigenlayer
) -> None:
    assert was_trained(steps) == ever
    assert trained_as_they_are(steps) == as_they_are
    assert was_trained(steps, since_eigenlayer=True) == since_eigenlayer


def test_the_last_training_says_whether_it_was_in_boxes() -> None:
    assert trained_in_boxes((TRAINED, step(boxes=True))) is True
    assert trained_in_boxes((TRAINED, step())) is None
    assert trained_in_boxes((step(boxes=True), TRAINED)) is False


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            step(sources=tuple(AverageSource(name=n, weight=0.5) for n in "ab")),
            "average, uniform: a, b",
        ),
        (step(method="weighted"), "average, weighted: 0.25 a, 0.75 b"),
        (
            step(method="greedy", sources=SOURCES[:1], left_out=("c",), data="cars val"),
            "average, greedy: a; without c; chosen on cars val",
        ),
        (
            step(method="line", statistics="cars train"),
            "average, line: 0.25 a, 0.75 b; batch norms estimated on cars train",
        ),
    ],
)
def test_words_of_an_average(record, words) -> None:
    assert phrase(record) == words


def test_a_record_is_read_back_and_keeps_what_differs_from_the_defaults() -> None:
    before = Provenance(covtool_version="0", steps=(step(trained=("ever",)),))
    (written,) = before.model_dump(mode="json")["steps"]
    assert set(written) == {"step", "method", "sources", "trained"}
    assert Provenance.model_validate_json(before.model_dump_json()) == before
