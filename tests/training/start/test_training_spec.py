import pytest
from pydantic import ValidationError

from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, FinetuneRequest, InputOverrides, TrainingSpec


def test_the_defaults_make_sense():
    TrainingSpec().validate_fields()


def test_every_setting_has_a_description_and_a_heading():
    for name, info in TrainingSpec.model_fields.items():
        assert info.description, name
        assert info.json_schema_extra["panel"], name


def test_the_names_of_all_settings_differ_so_that_args_yaml_can_be_flat():
    records = (TrainingSpec, AugmentationSpec, InputOverrides)
    names = [name for record in records for name in record.model_fields]
    names += [
        n for n in FinetuneRequest.model_fields if n not in ("training", "augmentation", "images")
    ]
    assert len(set(names)) == len(names)


def test_a_request_survives_the_way_through_its_arguments():
    request = FinetuneRequest(
        model="resnet18",
        data="birds",
        training=TrainingSpec(epochs=3, gc=True, freeze=("layer1.*",), opt_betas=(0.8, 0.9)),
        augmentation=AugmentationSpec(scale=(0.5, 1.0)),
        images=InputOverrides(img_size=64),
        experiment="first",
    )
    assert FinetuneRequest.from_arguments(request.to_arguments()) == request


def test_an_unknown_argument_is_refused():
    with pytest.raises(ArgumentError, match="'learning_rate' is not valid"):
        FinetuneRequest.from_arguments({"model": "m", "data": "d", "learning_rate": 1})


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"lr": 0}, {"layer_decay": 1.5}, {"opt_lr": 1}])
def test_values_out_of_range_and_unknown_names_are_refused(setting):
    with pytest.raises(ValidationError):
        TrainingSpec(**setting)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 2, "warmup_epochs": 2}, "--warmup-epochs 2 leaves nothing of --epochs 2"),
        ({"lr": 1e-6}, "--lr 1e-06 is below --warmup-lr 1e-05"),
        ({"min_lr": 0.1}, "--min-lr 0.1"),
        ({"sched": "multistep"}, "does not say after which epochs"),
        ({"decay_milestones": (5, 3)}, "--decay-milestones 5, 3 do not rise"),
        ({"gc_conv_only": True}, "--gc-conv-only has no effect without --gc"),
        ({"gc_on": "update"}, "--gc-on update has no effect without --gc"),
        ({"mixup_off_epoch": 3}, "no effect without --mixup or --cutmix"),
        ({"mixup": 0.2, "batch_size": 7}, "--batch-size 7 is odd"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        TrainingSpec(**settings).validate_fields()


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.1), (5, 0.5), (10, 1.0), (100, 1.0)])
def test_the_default_warmup_is_a_tenth_of_the_epochs_and_at_most_one(epochs, warmup):
    assert TrainingSpec(epochs=epochs).warmup == pytest.approx(warmup)
