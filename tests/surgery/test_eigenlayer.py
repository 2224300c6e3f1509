import pytest
import torch
from families import FAMILIES, LARGE, family, lively_
from retrieval_models import SMALL, make_model
from tolerances import EXACT, FLOAT32_CHAIN
from torch.testing import assert_close

from covtool.checkpoints.model_file import load, save
from covtool.errors import SurgeryError
from covtool.evaluation.features.extractor import embeddings
from covtool.layers import EigenClassifier, Eigenlayer
from covtool.specs import BaseSpec, EigenlayerSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery import apply_eigenlayer, apply_head, plan_eigenlayer, plan_head
from covtool.surgery.eigenlayer import eigen_classifier, eigenlayer_path
from covtool.training.parts.head import find_head, replace_classifier_


def put_in(model, images, features, init="keep"):
    plan = plan_eigenlayer(model, EigenlayerSpec(features=features, init=init), images)
    return plan, apply_eigenlayer(model, plan)


def answers(model, images, count=3):
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(count, images.channels, *images.size, generator=generator)
    with torch.no_grad():
        return model.eval()(batch)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in FAMILIES]
)
def test_an_eigenlayer_with_room_for_the_classifier_keeps_every_logit(name):
    network, images = family(name)
    model = lively_(network)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    plan, changed = put_in(model, images, 16)
    assert plan.keeps_logits
    assert_close(answers(changed, images), answers(model, images), **FLOAT32_CHAIN)
    layer = eigen_classifier(changed).eigenlayer
    assert layer.weight.shape == (16, plan.in_features)
    assert layer.correlation == pytest.approx(1, abs=1e-4)
    for key, tensor in model.state_dict().items():
        assert_close(tensor, before[key], msg=key, **EXACT)
        if not key.startswith(plan.classifier):
            assert_close(changed.state_dict()[key], tensor, msg=key, **EXACT)


@pytest.fixture
def network():
    model, images = family("test_resnet")
    return model, images


def test_too_few_vectors_give_the_nearest_logits_there_are(network):
    model, images = network
    plan, changed = put_in(model, images, 5)
    assert not plan.keeps_logits
    old = model.get_submodule(plan.classifier).weight
    both = eigen_classifier(changed)
    product = both.classifier.weight @ both.eigenlayer.weight
    values = torch.linalg.svdvals(old)
    assert (product - old).norm().item() == pytest.approx(values[5:].norm().item(), rel=1e-4)


def test_a_random_start_is_that_of_linear_layers(network):
    model, images = network
    torch.manual_seed(3)
    _, changed = put_in(model, images, 5, init="random")
    both = eigen_classifier(changed)
    torch.manual_seed(3)
    expected = Eigenlayer(96, 5), torch.nn.Linear(5, model.num_classes)
    assert_close(both.eigenlayer.weight, expected[0].weight, **EXACT)
    assert_close(both.classifier.weight, expected[1].weight, **EXACT)


def test_more_vectors_than_features_are_refused_with_the_rank(network):
    model, images = network
    with pytest.raises(SurgeryError, match="--eigenlayer 97 is more than the 96") as caught:
        put_in(model, images, 97)
    assert "rank 96 at most" in caught.value.reason


def test_the_number_of_vectors_that_is_suggested_fits(network):
    model, images = network
    with pytest.raises(SurgeryError, match="has no Eigenlayer") as caught:
        eigen_classifier(model)
    count = int(caught.value.hint.rpartition(" ")[2].rstrip("."))
    put_in(model, images, count)
    assert count == 96


def test_a_second_eigenlayer_and_a_head_behind_one_are_refused(network):
    model, images = network
    _, changed = put_in(model, images, 8)
    with pytest.raises(SurgeryError, match="is an Eigenlayer already"):
        put_in(changed, images, 4)
    with pytest.raises(SurgeryError, match="nothing of the Eigenlayer"):
        plan_head(changed, HeadSpec(dim=8), images)


def test_behind_a_covariance_head_it_is_part_of_the_head_and_is_saved_with_it(network, tmp_path):
    model, images = network
    head = plan_head(model, HeadSpec(dim=6), images, num_classes=3)
    covariance = apply_head(model, head)
    spec = EigenlayerSpec(features=4)
    changed = apply_eigenlayer(covariance, plan_eigenlayer(covariance, spec, images))
    assert_close(answers(changed, images), answers(covariance, images), **FLOAT32_CHAIN)
    changed.recipe = Recipe(
        base=BaseSpec(library="timm", name="test_resnet"),
        operations=(head.spec, spec),
        num_classes=3,
        input=InputSpec(size=images.size),
        provenance=Provenance(covtool_version="0"),
    )
    reloaded = load(save(changed, tmp_path / "eigen.safetensors"))
    assert_close(answers(reloaded, images), answers(changed, images), **EXACT)
    found = find_head(reloaded, images)
    assert found.eigenlayer == eigenlayer_path(reloaded) == "fc.eigenlayer"
    assert found.holds("fc.eigenlayer.weight")
    assert found.holds("fc.classifier.weight")
    replace_classifier_(reloaded, found, 7)
    assert isinstance(reloaded.fc, EigenClassifier)
    assert answers(reloaded, images).shape == (3, 7)


@pytest.mark.parametrize("settings", [{}, {"reorder": False}, {"decomposition": "uv"}])
def test_decorrelating_in_place_keeps_logits_by_folding_only(network, settings):
    model, images = network
    torch.manual_seed(0)
    _, changed = put_in(model, images, 8, init="random")
    both = eigen_classifier(changed)
    before, start = answers(changed, images), both.eigenlayer.correlation
    assert start < 0.9
    old = both.decorrelate_(**settings)
    assert both.eigenlayer.correlation == pytest.approx(1, abs=1e-6)
    assert not torch.equal(old, both.eigenlayer.weight)
    assert_close(answers(changed, images), before, rtol=1e-4, atol=1e-5)
    weight = both.classifier.weight.clone()
    both.eigenlayer.weight.data.copy_(old)
    both.decorrelate_(fold=False, **settings)
    assert_close(both.classifier.weight, weight, **EXACT)


def test_decorrelation_keeps_the_distances_between_a_models_embeddings():
    model = make_model(eigenlayer=24)
    images = torch.randn(12, 3, *SMALL.size, generator=torch.Generator().manual_seed(3))

    def distances():
        (found,) = embeddings(model, [images], "fc.classifier")
        return torch.cdist(found.double(), found.double())

    before = distances()
    eigen_classifier(model).decorrelate_()
    assert eigen_classifier(model).eigenlayer.correlation == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(distances(), before, rtol=1e-5, atol=1e-5)
    eigen_classifier(model).decorrelate_(decomposition="u")
    assert not torch.allclose(distances(), before, rtol=1e-2)
