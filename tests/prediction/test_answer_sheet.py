"""The picture of images with their answers."""

from dataclasses import replace

import pytest
from images import write_image
from PIL import Image, ImageFont

from covtool.prediction.answer_sheet import (
    PICTURES,
    Answered,
    _caption,
    _wrapped,
    save_answers,
)
from covtool.prediction.rows import Prediction

FONT = ImageFont.load_default(13)
LONG = "039.Bentley_Continental_Supersports_Conv._Convertible_2012"
TEXTS = [LONG, "W" * 200, "two words", "", "a/b/c-d e", "  spaces  "]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [40, 148])
def test_text_is_wrapped_and_nothing_of_it_is_lost(text, width):
    lines = _wrapped(text, FONT, width)
    assert all(FONT.getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_caption_names_the_image_and_three_classes():
    answer = Prediction(
        path="far/away/1.png",
        classes=("cat", "", "dog", "bird"),
        probabilities=(0.6, 0.3, 0.08, 0.02),
    )
    texts = [line.text for line in _caption(answer, FONT, 400)]
    assert texts == ["1.png", "60.0% cat", "30.0% (no answer)", "8.0% dog"]
    far = replace(answer, distance=0.8125)
    assert [line.text for line in _caption(far, FONT, 400)] == [*texts, "distance 0.812"]
    failed = Prediction(path="2.png", error="The file is empty.")
    assert [line.text for line in _caption(failed, FONT, 400)] == ["2.png", "The file is empty."]


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (20, 16)])
@pytest.mark.parametrize("count", [0, 1, 9, PICTURES])
def test_a_sheet_of_any_shape_is_drawn(size, count, tmp_path):
    image = write_image(tmp_path / "1.png", size=size)
    answer = Prediction(path=str(image), classes=(LONG,), probabilities=(1.0,))
    shown = [Answered(str(image), answer)] * count
    path = save_answers(tmp_path / "s.png", shown, title="net", total=count + 3)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width <= 2400


def test_an_image_that_is_gone_is_gray(tmp_path):
    answer = Prediction(path="gone.png", error="There is no such file.")
    save_answers(tmp_path / "s.png", [Answered("gone.png", answer)], total=1)
