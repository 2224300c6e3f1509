"""One record says which model to open, for every command."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from covtool.conversion import ConversionRequest
from covtool.evaluation.retrieve import RetrievalRequest
from covtool.specs import FinetuneRequest, HeadSpec, InputOverrides, ModelSource


def test_a_name_or_a_path_is_a_source():
    assert ModelSource.of("resnet50.pth") == ModelSource(name="resnet50.pth")
    assert ModelSource.of(Path("a/b.pth"), arch="resnet18").name == str(Path("a/b.pth"))


def test_fields_are_set_on_a_source_that_is_there():
    source = ModelSource.of(ModelSource(name="a.pth", arch="resnet18"), iterations=3)
    assert source == ModelSource(name="a.pth", arch="resnet18", iterations=3)


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="pretrained"):
        ModelSource.of("a.pth", pretrained=False)
    with pytest.raises(ValidationError, match="pretrained"):
        ModelSource.of(ModelSource(name="a.pth"), pretrained=False)


def test_a_path_that_is_not_utf_8_is_a_name():
    assert ModelSource.of("a\udcff.pth").name == "a\udcff.pth"


def test_requests_take_a_name_alone():
    assert ConversionRequest(source="a.pth", operations=[HeadSpec()]).source.name == "a.pth"
    assert RetrievalRequest(source="a.pth", data=Path("b")).source.name == "a.pth"
    assert RetrievalRequest(data=Path("b")).source is None


def test_a_run_names_its_model_by_the_fields_of_its_file():
    request = FinetuneRequest(
        model="net.pth",
        data="birds",
        arch="resnet18",
        iterations=3,
        weights="ema",
        classifier_layer="fc",
        images=InputOverrides(img_size="64x32"),
    )
    assert request.source == ModelSource(
        name="net.pth",
        arch="resnet18",
        iterations=3,
        weights="ema",
        classifier_layer="fc",
        input={"size": (64, 32)},
    )


def test_the_pretrained_weights_of_a_run_that_starts_from_others_are_not_fetched():
    request = FinetuneRequest(model="resnet18", data="birds", init_from="runs/1")
    assert request.source.from_scratch
    assert not request.model_copy(update={"init_from": None}).source.from_scratch
    assert FinetuneRequest(model=None, data="birds", init_from="runs/1").source is None
