import pytest
from pydantic import ValidationError

from covtool.specs import AugmentationSpec, InputOverrides, InputSpec


def test_only_what_is_said_changes_the_input() -> None:
    assert InputOverrides().changes() == {}
    said = InputOverrides(img_size=32, mean="0.5", std="0.1,0.2,0.3", crop_mode="squash")
    changes = said.changes()
    assert changes == {
        "size": (32, 32),
        "mean": (0.5,),
        "std": (0.1, 0.2, 0.3),
        "crop_mode": "squash",
    }
    InputSpec.model_validate({**InputSpec().model_dump(), **changes})


@pytest.mark.parametrize(
    ("given", "size"), [(32, (32, 32)), ("224", (224, 224)), ("256x128", (256, 128))]
)
def test_a_size_is_a_square_or_height_by_width(given: object, size: tuple[int, int]) -> None:
    assert InputOverrides(img_size=given).changes() == {"size": size}


@pytest.mark.parametrize("given", [0, -32, 32.5, "", "x", "32x", "x32", "0x32", "32x32x3", "32,32"])
def test_what_is_no_size_is_refused(given: object) -> None:
    with pytest.raises(ValidationError, match="it should be a number of pixels, or two"):
        InputOverrides(img_size=given)


def test_a_mean_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="one number, or numbers separated by commas"):
        InputOverrides(mean="half")


def test_an_augmentation_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        AugmentationSpec(hflip=1.5)


def test_a_mean_in_brackets_is_that_of_a_configuration() -> None:
    assert InputOverrides(mean="[0.5, 0.4, 0.3]").changes() == {"mean": (0.5, 0.4, 0.3)}


@pytest.mark.parametrize(
    "said",
    [
        {"img_size": "15000"},
        {"img_size": "9" * 5000},
        {"img_size": "32x99999"},
        {"std": "0"},
        {"std": "0.5,-1,0.5"},
        {"std": "nan"},
        {"mean": "inf"},
        {"mean": "1e300"},
        {"mean": ",".join(["0.5"] * 2000)},
    ],
)
def test_images_beyond_all_bounds_are_refused(said):
    with pytest.raises(ValidationError):
        InputOverrides(**said)
