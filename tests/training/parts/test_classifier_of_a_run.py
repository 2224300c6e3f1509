"""What becomes of a classifier: it stays where its outputs certainly are the data's classes."""

import pytest
import torch
from checkpoint_files import tiny_model

from covtool.checkpoints import open_model
from covtool.checkpoints.model_file import save
from covtool.errors import DataError
from covtool.training.parts.head import find_head, fit_classes_

TWELVE = [str(index) for index in range(12)]


@pytest.fixture(scope="module")
def state():
    return tiny_model(num_classes=12).state_dict()


def opened(tmp_path, state, **others):
    torch.save({"state_dict": state, **others}, tmp_path / "net.pth")
    return open_model(tmp_path / "net.pth", arch="test_resnet")


def fitted(model, names, *, new_classifier=False):
    head = find_head(model.model, model.recipe.input)
    recipe, note = fit_classes_(model, head, names, new_classifier=new_classifier)
    assert recipe.class_names == tuple(names)
    assert recipe.num_classes == model.model.fc.out_features == len(names)
    return model.model.fc.weight.detach(), note


def test_outputs_called_by_index_are_put_into_the_datas_order(tmp_path, state):
    weight, note = fitted(opened(tmp_path, state), sorted(TWELVE))
    order = [int(name) for name in sorted(TWELVE)]
    assert torch.equal(weight, state["fc.weight"][order])
    assert "put into the order of the data's classes" in note


def test_outputs_that_the_file_names_are_put_into_the_datas_order(tmp_path, state):
    names = list("lkjihgfedcba")
    model = opened(tmp_path, state, classes=names)
    bias = state["fc.bias"].flip(0)
    weight, _ = fitted(model, sorted(names))
    assert torch.equal(weight, state["fc.weight"].flip(0))
    assert torch.equal(model.model.fc.bias.detach(), bias)


def test_outputs_in_the_datas_order_stay(tmp_path, state):
    names = list("abcdefghijkl")
    weight, note = fitted(opened(tmp_path, state, classes=names), names)
    assert torch.equal(weight, state["fc.weight"])
    assert note is None


def test_a_guess_keeps_the_classifier_and_says_so(tmp_path, state):
    weight, note = fitted(opened(tmp_path, state), list("abcdefghijkl"))
    assert torch.equal(weight, state["fc.weight"])
    assert "which is a guess" in note
    assert "--new-classifier" in note


def test_as_many_other_classes_are_refused_until_a_new_classifier_is_asked_for(tmp_path, state):
    ones = [str(index) for index in range(1, 13)]
    with pytest.raises(DataError, match="not the indices") as caught:
        fitted(opened(tmp_path, state), ones)
    assert "--new-classifier" in caught.value.hint
    with pytest.raises(DataError, match="they differ") as caught:
        fitted(opened(tmp_path, state, classes=list("abcdefghijkl")), list("mnopqrstuvwx"))
    assert "--new-classifier" in caught.value.hint
    _, note = fitted(opened(tmp_path, state), ones, new_classifier=True)
    assert "starts afresh, for 12 classes" in note


def test_another_number_of_classes_starts_a_foreign_classifier_afresh(tmp_path, state):
    _, note = fitted(opened(tmp_path, state, classes=list("abcdefghijkl")), ["a", "b"])
    assert note == "The classifier (12 outputs) starts afresh, for 2 classes."


def test_another_number_of_classes_than_a_covtool_file_names_is_refused(tmp_path, state):
    model = opened(tmp_path, state, classes=list("abcdefghijkl")).model
    path = save(model, tmp_path / "own.safetensors")
    with pytest.raises(DataError, match="12 classes, the data set 2"):
        fitted(open_model(path), ["a", "b"])
