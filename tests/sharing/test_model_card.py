"""A model card says what the recipe says, and nothing else."""

import re

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal
from huggingface_hub import ModelCard

from covtool.sharing.card import card_text
from covtool.sharing.card_sections import Usage
from covtool.specs import (
    BaseSpec,
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    Metric,
    NeighborSpec,
    Provenance,
    Recipe,
    ScoreSpec,
)
from covtool.specs.provenance import ConversionStep, OperationRecord, TrainingStep

STEPS = (
    ConversionStep(
        source="net.pth", operations=(OperationRecord(operation="head", variant="isqrt"),)
    ),
    TrainingStep(command="finetune", data="birds", epochs=3, planned_epochs=5, opt="adamw"),
)
ISQRT = (HeadSpec(),)


def recipe(*, operations=ISQRT, class_names=("wren", "owl"), **provenance):
    made = {
        "source": "net.pth",
        "source_sha256": "a" * 64,
        "covtool_version": "1.2",
        "steps": STEPS,
        "data": "birds",
        "metrics": (Metric(name="top_1", value=62.5, data="birds val", images=120),),
    }
    return Recipe(
        base=BaseSpec(library="timm", name="test_resnet"),
        operations=operations,
        num_classes=2,
        class_names=class_names,
        input=InputSpec(size=(96, 128)),
        provenance=Provenance(**{**made, **provenance}),
    )


def card(made, *, assumptions=(), **usage):
    return card_text(made, Usage(**usage), assumptions=assumptions)


def front(text):
    """The YAML, read by the hub's own reader of cards."""
    return ModelCard(text).data


def test_what_was_done_measured_and_expected_is_in_it():
    text = card(recipe())
    assert "1. `convert net.pth: head isqrt`" in text
    assert "2. `finetune on birds: epoch 3 of 5, adamw" in text
    assert "- top-1: **62.5** on `birds val`, 120 images" in text
    assert "`wren`, `owl`" in text
    assert "96x128" in text
    assert 'covtool.load("model.safetensors")' in text
    for command in ("predict", "evaluate"):
        assert f"covtool {command} model.safetensors" in text


def test_the_hub_reads_the_front_matter():
    data = front(card(recipe(), repo="me/birds"))
    assert data.library_name == "covtool"
    assert data.pipeline_tag == "image-classification"
    assert {"covtool", "isqrt"} <= set(data.tags)
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 62.5)
    assert result.dataset_name == "birds val"
    assert data.license is None
    assert data.base_model is None


def test_a_card_for_the_hub_names_the_repository():
    text = card(recipe(), repo="me/birds")
    assert 'covtool.open_model("hf-hub:me/birds")' in text
    assert "covtool predict hf-hub:me/birds" in text
    assert "timm.create_model" not in text


def test_where_timm_opens_it_the_card_says_how():
    text = card(recipe(operations=()), repo="me/birds", with_timm=True)
    assert 'timm.create_model("hf-hub:me/birds", pretrained=True)' in text
    assert front(text).library_name == "timm"
    alone = card(recipe(operations=()), with_timm=True, is_timm_folder=True)
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in alone
    assert "import covtool" not in alone


def test_a_local_file_of_timms_names_is_opened_by_its_path():
    made = recipe(operations=()).model_copy(
        update={"base": BaseSpec(library="timm", name="test_vit", arguments={"img_size": [64, 64]})}
    )
    text = card(made, with_timm=True)
    arguments = "num_classes=2, img_size=[64, 64], checkpoint_path='model.safetensors'"
    assert f"timm.create_model('test_vit', {arguments}).eval()" in text


def test_a_foreign_file_is_not_loaded_as_covtools():
    text = card(recipe(), is_own=False, file="net.pth")
    assert 'covtool.open_model("net.pth").model' in text
    assert "covtool.load" not in text


@pytest.mark.parametrize(
    ("source", "sha256", "license_", "base"),
    [
        ("resnet50.a1_in1k", None, "apache-2.0", "timm/resnet50.a1_in1k"),
        ("hf-hub:timm/resnet50.a1_in1k", None, "apache-2.0", "timm/resnet50.a1_in1k"),
        (
            "resnet50_a1_0-14fe96d1.pth",
            "14fe96d1" + "0" * 56,
            "apache-2.0",
            "timm/resnet50.a1_in1k",
        ),
        ("resnet50_a1_0-14fe96d1.pth", "f" * 64, None, None),
        ("resnet50.a1_in1k", "f" * 64, None, None),
        ("hf-hub:me/resnet50.a1_in1k", None, None, None),
        ("torchvision:resnet50", None, None, None),
        ("resnet50.no_such_tag", None, None, None),
        (None, None, None, None),
    ],
)
def test_a_license_is_stated_only_where_it_is_certain(source, sha256, license_, base):
    text = card(recipe(source=source, source_sha256=sha256))
    assert front(text).license == license_
    assert front(text).base_model == base
    assert ("**Not known.**" in text) == (license_ is None)


def test_a_license_that_the_hub_does_not_list_is_another_one_with_its_name():
    data = front(card(recipe(source="fastvit_t8.apple_in1k", source_sha256=None)))
    assert (data.license, data.license_name) == ("other", "fastvit-license")


def test_random_weights_are_not_passed_off_as_trained():
    text = card(recipe(untrained=("classifier",), metrics=()))
    assert "The classifier is random" in text
    assert "covtool predict" not in text
    assert front(text).pipeline_tag == "image-feature-extraction"
    text = card(recipe(source="resnet50", source_sha256=None, untrained=("network", "classifier")))
    assert "All weights are random" in text
    assert front(text).license is None


def test_what_is_not_known_is_not_made_up():
    text = card(recipe(class_names=None, metrics=(), data=None, steps=(), source=None))
    assert "names of the 2 outputs are not known" in text
    assert "None are recorded" in text
    assert "On which data it was trained is not recorded" in text
    assert "No step is recorded" in text


def test_assumptions_about_a_foreign_file_are_listed():
    text = card(recipe(), assumptions=("Mean and deviation are ImageNet's: nothing states them.",))
    assert "- `Mean and deviation are ImageNet's: nothing states them.`" in text


def test_each_kind_of_operation_has_words():
    layers = ("layer1.0.conv2", "layer2.0.conv2")
    operations = (
        HeadSpec(head="isqrt", tap="layer3", fuse="gap"),
        HeadSpec(head="cov", tap=("layer3", "layer4")),
        ConvolutionSpec(conv="tanh", layers=layers),
        EigenlayerSpec(features=64),
    )
    text = card(recipe(operations=operations))
    assert "`isqrt` head on `layer3` beside its own average" in text
    assert "`cov` head on `layer3` and `layer4`" in text
    assert "2 convolutions became `tanh` operators" in text
    assert "an Eigenlayer of 64 features" in text


def test_temperature_and_kept_embeddings_are_stated():
    made = recipe().model_copy(
        update={
            "scores": ScoreSpec(temperature=1.5, method="validation", data="birds", images=9),
            "neighbors": NeighborSpec(layer="fc", nearest=5, data="birds", images=77),
        }
    )
    text = card(made)
    assert "divided by 1.5" in text
    assert "rests on 9 images: it is a rough one" in text
    sound = made.scores.model_copy(update={"images": 900})
    assert "rough" not in card(made.model_copy(update={"scores": sound}))
    assert "77 training images" in text
    assert "77 training images" not in card(made, is_timm_folder=True)


def test_many_classes_and_steps_are_cut_short_and_counted():
    names = tuple(f"class {n}" for n in range(5000))
    many = recipe(class_names=names, steps=STEPS * 1000).model_copy(update={"num_classes": 5000})
    text = card(many)
    assert "and 4,900 more" in text
    assert "The first 1,950 of 2,000 steps are not shown" in text
    assert len(text) < 20_000


@pytest.mark.parametrize("hostile", [*HOSTILE.values(), "`</code><script>x</script>", "---\na: b"])
def test_hostile_names_stay_names(hostile):
    name = hostile[:900].encode("utf-8", "replace").decode()
    text = card(
        recipe(
            class_names=(name, "owl"),
            source=name,
            data=name,
            metrics=(Metric(name=name, value=1.0, data=name, images=1),),
            steps=(TrainingStep(command="finetune", data=name, opt=name[:100]),),
        ),
        assumptions=(name,),
    )
    body = text.split("\n---\n", 1)[1]
    assert not acts_on_a_terminal(text)
    # Outside of code there are the card's own words alone.
    without_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", body)
    assert "<" not in without_code
    assert "forged" not in without_code
    assert front(text).library_name == "covtool"
    assert front(text).license is None
