"""The history of a model: as records, as the lines of old files, and as lines for people."""

import json

import pytest

from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    LastStrideSpec,
    LayoutSpec,
    NeckSpec,
    Recipe,
)
from covtool.specs.first_version import read_line
from covtool.specs.provenance import (
    ConversionStep,
    InitialWeightsStep,
    IterationsRecord,
    OperationRecord,
    OtherStep,
    Provenance,
    SavedStateStep,
    TrainingStep,
    phrase,
)
from covtool.specs.recipe_reading import recipe_of, recipe_of_json
from covtool.specs.training_history import trained_as_they_are, trained_in_boxes, was_trained
from covtool.surgery.operations import operation_record

EIGENLAYER = ConversionStep(
    source="a.pth", operations=(OperationRecord(operation="eigenlayer", features=8),)
)
HEAD = ConversionStep(
    source="a.pth", operations=(OperationRecord(operation="head", variant="isqrt"),)
)
TRAINED = TrainingStep(
    command="finetune", data="cars", epochs=3, planned_epochs=30, opt="sgd", lr=5e-4
)
PHASED = TrainingStep(
    command="svdnet-rri",
    data="people.csv",
    epochs=8,
    planned_epochs=8,
    phase="relaxation 2",
    opt="adamw",
    lr=0.02,
    iterations=IterationsRecord(
        rates=(0.001, 1e-4), changed=(("decomposition", "u"), ("reorder", "False"))
    ),
    loss="ce+0.5*triplet",
    sampler="pk",
    centralized="gradient of convolutions",
)
STATE = SavedStateStep(file="epoch-3.pt", epochs=3)
UNTRAINED_STATE = SavedStateStep(file="last.pt", epochs=0)
WEIGHTS = InitialWeightsStep(file="best.pt")
TRAINED_WEIGHTS = InitialWeightsStep(file="best.pt", trained=True)
BOXES = TRAINED.model_copy(update={"layout": LayoutSpec(crop="boxes", data_split=2)})

LINES = {
    # each as a version of covtool has written it
    "convert resnet50.pth: head isqrt": HEAD.model_copy(update={"source": "resnet50.pth"}),
    "convert a.pth: eigenlayer of 8": EIGENLAYER,
    "convert a: b, eigenlayer of 8.pth: imported": ConversionStep(
        source="a: b, eigenlayer of 8.pth"
    ),
    "convert a.pth: last-stride, conv ball in 9 layers, head gap (--labels family, --crop boxes)": (
        ConversionStep(
            source="a.pth",
            operations=(
                OperationRecord(operation="last-stride"),
                OperationRecord(operation="conv", variant="ball", layers=9),
                OperationRecord(operation="head", variant="gap"),
            ),
            layout=LayoutSpec(labels="family", crop="boxes"),
        )
    ),
    "finetune on cars: epoch 3 of 30, sgd, lr 0.0005": TRAINED,
    "finetune on cars (--data-split 2, --crop boxes): epoch 3 of 30, sgd, lr 0.0005": BOXES,
    "finetune on cars: epoch 3 of 30, sgd, lr 0.0005, gradient centralization on the update, "
    "heads isqrt@0,mpn:pade@10": TRAINED.model_copy(
        update={"centralized": "update", "head_schedule": "isqrt@0,mpn:pade@10"}
    ),
    "svdnet-rri on people.csv: epoch 8 of 8, relaxation 2, adamw, lr 0.02, then 0.001 0.0001, "
    "decomposition u, reorder False, loss ce+0.5*triplet, sampler pk, gradient centralization on "
    "the gradient of convolutions": PHASED,
    "finetune: epoch-3.pt, the state after epoch 3": STATE,
    "finetune from the weights of best.pt": WEIGHTS,
}
ODD_LINES = (
    "",
    "by hand",
    "convert",
    "convert a.pth: something else",
    "convert a.pth: eigenlayer of 99999999999",
    "convert a.pth: head gap (--crop none)",
    "finetune",
    "finetune on cars",
    "finetune on cars: epoch 1",
    "finetune on cars: epoch 1 of 2, lr 0.1",
    "finetune on cars: epoch 1 of 2, sgd, lr nan",
    "finetune on cars: epoch 1 of 2, sgd, lr fast",
    "finetune on cars: epoch 1 of 2, sgd, lr 0.1, then quickly",
    "finetune on cars: epoch 1 of 2, sgd, lr 0.1, heads isqrt@0, mpn@1",
    "finetune on cars (--crop boxes, --color red): epoch 1 of 2, sgd, lr 0.1",
    "finetune: last.pt, the state after epoch \u0663",
    "svdnet-rri, later",
)


def recipe_with(**provenance):
    return {
        "base": {"library": "timm", "name": "resnet18"},
        "num_classes": 3,
        "input": {},
        "provenance": {"covtool_version": "0", **provenance},
    }


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_an_old_file_becomes_the_record_that_is_written_today(line):
    assert read_line(line) == LINES[line]
    assert phrase(LINES[line]) == line


@pytest.mark.parametrize("line", ODD_LINES)
def test_a_line_that_says_something_else_stays_as_it_is(line):
    assert phrase(read_line(line)) == line


@pytest.mark.parametrize("version", [{"version": 1}, {}])
def test_a_recipe_of_version_1_has_the_same_history_as_records(version):
    history = [*LINES, *ODD_LINES]
    recipe = recipe_of(recipe_with(history=history, data="cars") | version)
    assert recipe.version == 2
    assert recipe.provenance.history == tuple(history)
    assert recipe.provenance.steps[: len(LINES)] == tuple(LINES.values())
    assert recipe.provenance.data == "cars"
    assert recipe_of(recipe.model_dump(mode="json")) == recipe


def test_a_recipe_of_version_1_without_a_history_has_no_steps():
    assert recipe_of(recipe_with() | {"version": 1}).provenance.steps == ()


STEPS = (EIGENLAYER, HEAD, TRAINED, PHASED, BOXES, STATE, UNTRAINED_STATE, WEIGHTS, TRAINED_WEIGHTS)


@pytest.mark.parametrize("step", (*STEPS, OtherStep(text="by hand")), ids=phrase)
def test_a_step_comes_back_from_a_file_and_what_is_usual_is_not_in_it(step):
    provenance = Provenance(covtool_version="0", steps=(step,))
    recipe = Recipe.model_validate(recipe_with() | {"provenance": provenance})
    text = json.dumps(recipe.model_dump(mode="json"))
    assert recipe_of_json(text) == recipe
    [written] = json.loads(text)["provenance"]["steps"]
    assert written["step"] == step.step
    assert None not in written.values()
    assert [] not in written.values()
    assert read_line(phrase(step)).step == step.step


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "dance"}, "steps.0: Input tag 'dance' found using 'step' does not match"),
        ({}, "steps.0: Unable to extract tag"),
        ({"step": "conversion"}, "source: Field required"),
        ({"step": "training", "command": "rm"}, "command: Input should be 'finetune'"),
        ({"step": "saved-state", "file": "a", "epochs": -1}, "epochs: Input should be greater"),
        ({"step": "initial-weights", "file": "a", "path": "b"}, "path: Extra inputs"),
        ({"step": "other"}, "text: Field required"),
        ({"step": "other", "text": "a" * 40_000}, "at most 32768 characters"),
    ],
)
def test_a_malformed_step_is_refused_with_its_place(step, message):
    with pytest.raises(ValueError, match=message) as caught:
        recipe_of(recipe_with(steps=[step]) | {"version": 2})
    assert str(caught.value).startswith("provenance.steps.0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1, "steps": []}, "provenance.steps: Extra inputs"),
        ({"version": 2, "history": []}, "provenance.history: Extra inputs"),
        ({"version": 1, "history": [1]}, "provenance.history.0: Input should be a valid string"),
        ({"version": 1, "history": "convert"}, "provenance.history: Input should be a valid tuple"),
        ({"version": 3}, "version: Input should be 2"),
        ({"version": True}, "version: Input should be 2"),
    ],
)
def test_keys_of_another_version_are_refused(changes, message):
    version = changes.pop("version")
    with pytest.raises(ValueError, match=message):
        recipe_of(recipe_with(**changes) | {"version": version})


@pytest.mark.parametrize(
    ("steps", "trained", "since_eigenlayer"),
    [
        ((), False, False),
        ((EIGENLAYER,), False, False),
        ((TRAINED,), True, True),
        ((PHASED,), True, True),
        ((STATE,), True, True),
        ((UNTRAINED_STATE,), False, False),
        ((TRAINED, EIGENLAYER), True, False),
        ((EIGENLAYER, TRAINED), True, True),
        ((TRAINED, HEAD), True, True),
        ((EIGENLAYER, WEIGHTS), False, False),
        ((EIGENLAYER, TRAINED, WEIGHTS), False, False),
        ((EIGENLAYER, TRAINED_WEIGHTS), True, True),
        ((EIGENLAYER, WEIGHTS, TRAINED), True, True),
        ((TRAINED_WEIGHTS, EIGENLAYER), True, False),
        ((OtherStep(text="finetune on paper"),), False, False),
    ],
)
def test_what_was_trained_is_decided_from_the_records(steps, trained, since_eigenlayer):
    assert was_trained(steps) is trained
    assert was_trained(steps, since_eigenlayer=True) is since_eigenlayer


def test_weights_are_trained_as_they_are_if_nothing_was_operated_on_since():
    assert trained_as_they_are((EIGENLAYER, TRAINED))
    assert not trained_as_they_are((TRAINED, HEAD))
    assert not trained_as_they_are(())


def test_whether_images_were_cropped_is_said_by_the_last_training():
    cropped_conversion = HEAD.model_copy(update={"layout": LayoutSpec(crop="boxes")})
    assert trained_in_boxes(()) is None
    assert trained_in_boxes((cropped_conversion, STATE, WEIGHTS)) is None
    assert trained_in_boxes((TRAINED, BOXES, STATE)) is True
    assert trained_in_boxes((BOXES, TRAINED, cropped_conversion)) is False
    assert trained_in_boxes((read_line("convert net on cars.pth: head gap"),)) is None


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (HeadSpec(head="isqrt"), "head isqrt"),
        (ConvolutionSpec(conv="ball", layers=("a", "b")), "conv ball in 2 layers"),
        (EigenlayerSpec(features=64), "eigenlayer of 64"),
        (LastStrideSpec(), "last-stride"),
        (NeckSpec(features=64), "neck"),
    ],
)
def test_an_operation_is_recorded_by_what_the_history_says_of_it(operation, words):
    step = ConversionStep(source="a.pth", operations=(operation_record(operation),))
    assert phrase(step) == f"convert a.pth: {words}"
