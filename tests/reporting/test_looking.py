"""Maps of where a network looks: the image as it was seen, and a reason where there is no map."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluated_toys import evaluated_toy
from html_checks import require_sound
from PIL import Image
from torch import nn

from covtool.data.images.decoding import read_image
from covtool.data.transforms.from_timm import evaluation_pixels, evaluation_transform
from covtool.errors import DataError, SurgeryError
from covtool.evaluation.evaluate import evaluate
from covtool.explaining.explaining import explain
from covtool.explaining.overlays import overlay
from covtool.reporting.evaluation_page import write_evaluation
from covtool.reporting.looking import look_of
from covtool.reporting.subjects import Subject
from covtool.specs import NeighborSpec


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return evaluate(evaluated_toy(tmp_path_factory.mktemp("looking")))


class Unpooled(nn.Module):
    """A network without a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 32 * 32, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(images.flatten(1))


def without_map(done):
    model = Unpooled().eval()
    model.recipe = done.opened.recipe
    return replace(done.opened, model=model)


def test_a_picture_is_the_map_over_the_image_as_it_was_seen(done) -> None:
    path, input = done.paths[0], done.input
    found = look_of(done.opened)(path, 2)
    image = read_image(path)
    seen = Image.fromarray(evaluation_pixels(input)(image).permute(1, 2, 0).numpy())
    batch = evaluation_transform(input)(image)[None]
    expected = overlay(seen, explain(done.opened.model, batch, torch.tensor([2])).values[0])
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    other = look_of(done.opened)(path, 0)
    assert not np.array_equal(np.asarray(found), np.asarray(other))


def test_the_model_is_as_before(done) -> None:
    model, image = done.opened.model, torch.rand(1, 3, 32, 32)
    before = model(image)
    look_of(done.opened)(done.paths[0], 1)
    assert torch.equal(model(image), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_has_no_map_says_why(done, tmp_path) -> None:
    with pytest.raises(DataError):
        look_of(done.opened)(tmp_path / "gone.png", 0)
    with pytest.raises(SurgeryError):
        look_of(without_map(done))(done.paths[0], 0)


def test_the_page_says_why_there_is_no_map(done, tmp_path) -> None:
    subject = Subject(done=done, model="net", look=look_of(without_map(done)))
    page = require_sound(write_evaluation(subject, tmp_path / "page").read_text())
    assert page.text.count("All maps of where the network looks are missing:") == 1
    assert "looks for " not in page.text


def test_the_page_says_which_maps_alone_are_missing(done, tmp_path) -> None:
    subject = Subject(done=done, model="net")
    first, look = done.paths[subject.mistakes[0]], look_of(done.opened)

    def partly(path, output):
        if path == first:
            raise DataError("It is gone.")
        return look(path, output)

    subject = replace(subject, look=partly)
    page = require_sound(write_evaluation(subject, tmp_path / "page").read_text())
    assert "2 maps of where the network looks are missing: It is gone." in page.text
    on_pictures = page.text.replace("looks for the given class", "").count("looks for ")
    assert on_pictures == 2 * len(subject.mistakes) - 2


def test_the_page_says_why_kept_embeddings_are_not_shown(done, tmp_path) -> None:
    kept = NeighborSpec(layer="fc", nearest=3, data="toy, train", images=12)
    recipe = done.opened.recipe.model_copy(update={"neighbors": kept})
    opened = replace(done.opened, recipe=recipe)
    subject = Subject(done=replace(done, opened=opened), model="net")
    page = require_sound(write_evaluation(subject, tmp_path / "page").read_text())
    assert "but not what they are of: the nearest ones cannot be shown" in page.text
