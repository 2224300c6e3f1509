"""`covtool.predict`: records for images, without a file."""

import numpy as np
import pytest
import torch
from images import truncate, write_classes
from PIL import Image

import covtool
from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.errors import ArgumentError, CheckpointError
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    made = create_model(base, num_classes=3)
    made.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=("a", "b", "c"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    save(made, tmp_path / "net.safetensors")
    return made.train()


@pytest.fixture
def data(tmp_path):
    return write_classes(tmp_path / "data", {"a": 2, "b": 1})


def test_a_module_a_file_and_what_was_opened_answer_alike(model, data, tmp_path):
    file = tmp_path / "net.safetensors"
    answers = covtool.predict(file, data, top_k=2, device="cpu")
    assert [answer.path for answer in answers] == [str(p) for p in sorted(data.rglob("*.png"))]
    assert all(len(answer.classes) == len(answer.probabilities) == 2 for answer in answers)
    for other in (model, covtool.open_model(file), covtool.load(file), str(file)):
        assert covtool.predict(other, str(data), top_k=2, device="cpu") == answers
    assert model.training  # as it was given


def test_pictures_of_pillow_are_prepared_as_their_files(model, data):
    paths = sorted(data.rglob("*.png"))
    pictures = [Image.open(path) for path in paths]
    of_files, of_pictures = covtool.predict(model, paths), covtool.predict(model, pictures)
    assert [one.probabilities for one in of_pictures] == [one.probabilities for one in of_files]
    made = covtool.predict(model, Image.fromarray(np.zeros((9, 9), np.uint8)), top_k=1)
    assert made[0].path == "[0]"


def test_all_classes_where_there_are_fewer_than_asked_for(model, data):
    (answer, *_) = covtool.predict(model, data, logits=True)
    assert set(answer.classes) == {"a", "b", "c"}
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.outputs[0] == max(range(3), key=answer.logits.__getitem__)


def test_an_unreadable_image_has_a_record_with_the_reason(model, data):
    truncate(data / "a/001.png")
    good, bad, _ = covtool.predict(model, data)
    assert (good.error, bool(bad.error), bad.classes) == ("", True, ())


def test_what_cannot_answer_is_refused(model, data):
    with pytest.raises(ArgumentError, match="no recipe"):
        covtool.predict(torch.nn.Linear(2, 2), data)
    with pytest.raises(ArgumentError, match="top_k"):
        covtool.predict(model, data, top_k=0)
    fresh = Provenance(covtool_version="0", untrained=("classifier",))
    model.recipe = model.recipe.model_copy(update={"provenance": fresh})
    with pytest.raises(CheckpointError, match="no trained classifier"):
        covtool.predict(model, data)
