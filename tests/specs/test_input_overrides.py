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


def test_a_mean_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="one number, or numbers separated by commas"):
        InputOverrides(mean="half")


def test_an_augmentation_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        AugmentationSpec(hflip=1.5)
