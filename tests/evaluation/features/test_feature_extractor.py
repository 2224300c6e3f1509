"""Features are the input of the classifier, or of the Eigenlayer; the model stays as it is."""

import pytest
import torch
from images import write_image
from process_group import run_together
from retrieval_models import SMALL, make_model
from tolerances import EXACT
from torch import nn

from covtool.backbones.create import create_model, parse_name
from covtool.data.datasets.samples import Sample
from covtool.errors import NonFiniteError, ShapeError, SurgeryError
from covtool.evaluation.features.extractor import FeatureExtractor, embeddings, find_feature_layer
from covtool.processes import joined
from covtool.specs import FeatureSpec, HeadSpec
from covtool.surgery import apply_head, plan_head


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def features(model, images, feature="embedding", **settings):
    layer = find_feature_layer(model, SMALL, FeatureSpec(feature=feature))
    return torch.cat(list(embeddings(model, images.split(2), layer, **settings)))


def by_timm(model, images):
    with torch.no_grad():
        return model.forward_head(model.forward_features(images), pre_logits=True)


def test_features_are_what_timm_gives_to_its_classifier(images):
    model = make_model()
    for name in ("embedding", "pooled"):
        torch.testing.assert_close(features(model, images, name), by_timm(model, images))


def test_of_an_eigenlayer_both_sides_can_be_taken(images):
    model = make_model(eigenlayer=7)
    pooled, embedded = (features(model, images, name) for name in ("pooled", "embedding"))
    torch.testing.assert_close(pooled, by_timm(model, images))
    torch.testing.assert_close(embedded, pooled @ model.fc.eigenlayer.weight.detach().T)
    assert embedded.shape == (5, 7)


def test_of_a_covariance_head_the_vector_is_taken(images):
    model = make_model()
    spec = HeadSpec(head="isqrt", dim=8)
    model = apply_head(model, plan_head(model, spec, SMALL)).eval()
    found = features(model, images)
    assert found.shape == (5, 8 * 9 // 2)
    with torch.no_grad():
        torch.testing.assert_close(model.fc(found), model(images))


@pytest.mark.parametrize(
    "name", ["test_vit", "test_efficientnet", "torchvision:shufflenet_v2_x0_5"]
)
def test_any_network_with_a_linear_classifier_has_features(name, images):
    model = create_model(parse_name(name)[0], num_classes=3).eval()
    size = (160, 160) if name == "test_vit" else (32, 32)
    layer = find_feature_layer(model, SMALL.model_copy(update={"size": size}), FeatureSpec())
    images = torch.nn.functional.interpolate(images, size)
    (found,) = embeddings(model, [images], layer)
    with torch.no_grad():
        torch.testing.assert_close(model.get_submodule(layer)(found), model(images))


def test_the_mean_with_the_mirror_image_does_not_know_left_from_right(images):
    model = make_model()
    found = features(model, images, flip_test=True)
    torch.testing.assert_close(found, features(model, images.flip(-1), flip_test=True))
    expected = (features(model, images) + features(model, images.flip(-1))) / 2
    torch.testing.assert_close(found, expected, **EXACT)
    assert not torch.allclose(found, features(model, images))


def test_the_model_stays_as_it_is(images):
    model = make_model().train()
    model.layer1.eval()  # some of it frozen
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = embeddings(model, images.split(2), "fc")
    next(found)
    assert torch.is_grad_enabled()
    found.close()  # even if nobody wants the rest
    assert [module.training for module in model.modules()] == modes
    assert not model.fc._forward_pre_hooks
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], msg=name, **EXACT)


def test_a_model_in_half_precision_gives_float32(images):
    model = make_model()
    expected = features(model, images)
    found = features(model.to(torch.bfloat16), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


def test_features_that_are_no_numbers_are_an_error(images):
    model = make_model()
    nn.init.constant_(model.conv1[0].weight, float("nan"))
    with pytest.raises(NonFiniteError, match="not finite"):
        features(model, images)


def test_a_layer_that_is_fed_no_vectors_is_refused(images):
    with pytest.raises(ShapeError, match="The input of 'layer4'"):
        list(embeddings(make_model(), [images], "layer4"))


def test_a_model_without_a_linear_layer_is_refused():
    with pytest.raises(SurgeryError, match="not a Linear layer"):
        find_feature_layer(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), SMALL, FeatureSpec())


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [write_image(folder / f"{number}.png", seed=number) for number in range(7)]
    return tuple(Sample(path, 0) for path in paths)


def described(rank, samples):
    with joined(timeout_s=60) as processes:
        spec = FeatureSpec(flip_test=True)
        settings = {"batch_size": 2, "workers": 0, "processes": processes}
        batches = FeatureExtractor.of(make_model(), SMALL, spec, **settings)(samples)
        return [batch.numpy() for batch in batches]


@pytest.mark.parametrize("world", [2, 5])
def test_several_processes_describe_images_as_one_does(samples, world):
    alone = described(0, samples)
    main, *others = run_together(described, samples, world=world)
    assert [len(batch) for batch in main] == [2, 2, 2, 1]
    for batch, expected in zip(main, alone, strict=True):
        assert (batch == expected).all()
    assert others == [[]] * (world - 1)


def test_the_number_of_features_is_known_before(samples):
    extractor = FeatureExtractor.of(make_model(eigenlayer=7), SMALL, FeatureSpec(), workers=0)
    assert extractor.num_features == 7
    assert next(extractor(samples)).shape == (7, 7)
