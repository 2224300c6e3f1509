"""What `WithEmbeddings` takes out of a forward pass, and what it leaves as it is."""

from copy import deepcopy

import pytest
import torch
from families import FAMILIES, LARGE, family, some_images
from tolerances import EXACT, FLOAT32
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.specs import HeadSpec, InputSpec
from covtool.surgery import apply_head, plan_head
from covtool.training.parts.head import find_head
from covtool.training.parts.objective import WithEmbeddings
from covtool.variants import HEADS

IMAGES = InputSpec(size=(64, 64))


def network(head: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(parse_name("test_resnet")[0], num_classes=4)
    if head is None:
        return model.eval()
    sketch = {"sketch_size": 64} if "sketch_size" in HEADS[head].options else {}
    return apply_head(model, plan_head(model, HeadSpec(head=head, dim=8, **sketch), IMAGES)).eval()


def assert_is_what_the_classifier_is_fed(model: nn.Module, images: InputSpec) -> None:
    path = find_head(model, images).classifier
    wrapped, batch = WithEmbeddings(model, path), some_images(images)
    with torch.no_grad():
        alone = model(batch)
        logits, embeddings = wrapped(batch)
    assert_close(logits, alone, **EXACT)
    classifier = model.get_submodule(path)
    assert embeddings.shape == (len(batch), classifier.in_features)
    assert_close(F.linear(embeddings, classifier.weight, classifier.bias), logits, **FLOAT32)


@pytest.mark.parametrize("head", HEADS.names)
def test_embeddings_of_every_head_give_the_logits(head: str) -> None:
    assert_is_what_the_classifier_is_fed(network(head), IMAGES)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in FAMILIES]
)
def test_embeddings_of_every_family_give_the_logits(name: str) -> None:
    model, images = family(name)
    assert_is_what_the_classifier_is_fed(deepcopy(model).eval(), images)


def test_the_model_keeps_its_names_and_may_be_copied_and_run_alone() -> None:
    model = network()
    before = list(model.state_dict())
    wrapped = WithEmbeddings(model, "fc")
    assert list(model.state_dict()) == before
    copy = deepcopy(model)
    batch = some_images(IMAGES)
    expected = wrapped(batch)
    nn.init.zeros_(copy.fc.weight)
    copy(batch), model(batch)
    assert_close(wrapped(batch), expected, **EXACT)


def test_a_failed_forward_pass_leaves_nothing_behind() -> None:
    wrapped = WithEmbeddings(network(), "fc")
    good = wrapped(some_images(IMAGES))
    with pytest.raises(RuntimeError):
        wrapped(torch.zeros(1, 7, 64, 64))
    assert_close(wrapped(some_images(IMAGES)), good, **EXACT)


def test_compiled_it_gives_the_same_with_gradients_through_both() -> None:
    images = some_images(IMAGES)

    def gradients(model: nn.Module, forward: nn.Module) -> list[torch.Tensor]:
        logits, embeddings = forward(images)
        (logits.square().sum() + embeddings.square().sum()).backward()
        return [logits.detach(), embeddings.detach(), *(p.grad for p in model.parameters())]

    torch.compiler.reset()
    plain, traced = network("isqrt"), network("isqrt")
    expected = gradients(plain, WithEmbeddings(plain, "fc"))
    compiled = torch.compile(WithEmbeddings(traced, "fc"), backend="aot_eager", fullgraph=True)
    assert_close(gradients(traced, compiled), expected, **FLOAT32)
