"""Bodies under any prefix, with anything beside them, and the classifier that belongs to them."""

import argparse

import pytest
import timm
import torch
import torchvision
from checkpoint_files import prefixed, tiny_model
from safetensors.torch import save_file
from torch import nn

from covtool.checkpoints import identify, open_model
from covtool.errors import CheckpointError, UnrecognizedCheckpointError

PREFIXES = [
    "base.",
    "module.encoder_q.",
    "backbone.0.body.",
    "model.model.",
    "visual.trunk.",
    "_forward_module.model.net.",
    "net_g.module.",
    "student.",
]

BESIDE = {
    "nothing": {},
    "a projector": {"projector.0.weight": torch.ones(4, 96), "projector.1.weight": torch.ones(4)},
    "a queue": {"module.queue": torch.ones(8, 16), "module.queue_ptr": torch.zeros(1)},
    "a decoder": {"decoder.blocks.0.weight": torch.ones(3, 3)},
    "a loss": {"criterion.weight": torch.ones(96), "loss.center": torch.ones(7, 96)},
    "metrics": {"train_acc.tp": torch.ones(7), "val_f1.confmat": torch.ones(7, 7)},
}


@pytest.fixture(scope="module")
def model():
    return tiny_model(num_classes=7)


def body(model):
    return {name: t for name, t in model.state_dict().items() if not name.startswith("fc.")}


def head(model, name):
    state = model.state_dict()
    return {f"{name}.{leaf}": state[f"fc.{leaf}"] for leaf in ("weight", "bias")}


def answers(model):
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(images)


def save(state, path, kind="pth"):
    if kind == "safetensors":
        save_file({name: t.contiguous() for name, t in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_body_is_recognized_under_any_prefix_with_anything_beside(
    tmp_path, model, prefix, beside
):
    path = save({**prefixed(body(model), prefix), **BESIDE[beside]}, tmp_path / "test_resnet.pth")
    found = identify(path)
    assert (found.match, found.best.name, found.num_classes) == ("names", "test_resnet", None)
    assert found.checkpoint.prefix == prefix
    assert set(found.checkpoint.ignored) == set(BESIDE[beside])


HEADS = [
    "head.fc",
    "head",
    "classifier",
    "linear",
    "last_linear",
    "mlp_head",
    "fc.1",
    "cls_head.fc_cls",
    "logits",
]


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("name", HEADS)
def test_one_linear_layer_that_fits_the_features_is_the_classifier(tmp_path, model, name, kind):
    state = {**prefixed(body(model), "backbone."), **head(model, name)}
    opened = open_model(save(state, tmp_path / "test_resnet.pth", kind))
    assert opened.recipe.num_classes == 7
    assert opened.recipe.provenance.untrained == ()
    assert torch.equal(answers(opened.model), answers(model))


def test_a_classifier_in_an_entry_of_its_own_is_found(tmp_path, model):
    content = {"backbone": body(model), "classifier": head(model, "fc"), "epoch": 3}
    opened = open_model(save(content, tmp_path / "test_resnet.pth"))
    assert torch.equal(answers(opened.model), answers(model))
    content = {"state_dict": body(model), "classifier": {"weight": model.fc.weight.data}}
    opened = open_model(save(content, tmp_path / "test_resnet.pth"))
    assert opened.recipe.num_classes == 7


def test_a_classifier_without_a_bias_gets_one_of_zeros(tmp_path, model):
    state = {**prefixed(body(model), "backbone."), "logits.weight": model.fc.weight.detach()}
    opened = open_model(save(state, tmp_path / "test_resnet.pth"))
    assert torch.allclose(answers(opened.model), answers(model) - model.fc.bias, atol=1e-5)
    assert any("logits has no bias" in note for note in opened.notes)


def test_of_several_classifiers_one_is_asked_for(tmp_path, model):
    state = {**body(model), **head(model, "fc_genus"), **head(model, "fc_species")}
    state["fc_genus.weight"] = torch.zeros(7, 96)
    path = save(state, tmp_path / "test_resnet.pth")
    with pytest.raises(CheckpointError, match="several classifiers: fc_genus, fc_species") as told:
        open_model(path)
    assert "--classifier-layer fc_genus" in told.value.hint
    opened = open_model(path, classifier_layer="fc_species")
    assert torch.equal(answers(opened.model), answers(model))
    with pytest.raises(CheckpointError, match="no classifier called 'fc_family'"):
        open_model(path, classifier_layer="fc_family")


NOT_CLASSIFIERS = {
    "two layers": {
        "fc.0.weight": torch.ones(8, 96),
        "fc.0.bias": torch.ones(8),
        "fc.3.weight": torch.ones(7, 8),
    },
    "a neck between": {
        "bottleneck.weight": torch.ones(96),
        "bottleneck.bias": torch.ones(96),
        "bottleneck.running_mean": torch.ones(96),
        "classifier.weight": torch.ones(7, 96),
    },
    "a norm in the head": {
        "head.norm.weight": torch.ones(96),
        "head.norm.bias": torch.ones(96),
        "head.fc.weight": torch.ones(7, 96),
    },
    "another length": {"fc.weight": torch.ones(7, 192), "fc.bias": torch.ones(7)},
    "a projection": {"projection_head.weight": torch.ones(7, 96)},
    "an angular margin": {"arcface.weight": torch.ones(7, 96)},
    "a cosine": {"fc.weight": torch.ones(7, 96), "fc.sigma": torch.ones(1)},
    "a scaled cosine": {"head.weight": torch.ones(7, 96), "head.scale": torch.tensor(16.0)},
    "another pooling": {"pool.p": torch.ones(1), "fc.weight": torch.ones(7, 96)},
}


@pytest.mark.parametrize("kind", NOT_CLASSIFIERS)
def test_what_is_not_the_classifier_alone_is_listed_as_not_used(tmp_path, model, kind):
    state = {**body(model), **NOT_CLASSIFIERS[kind]}
    opened = open_model(save(state, tmp_path / "test_resnet.pth"))
    assert opened.identification.num_classes is None
    assert opened.recipe.provenance.untrained == ("classifier",)
    assert set(opened.checkpoint.ignored) == set(NOT_CLASSIFIERS[kind])
    said = ("no classifier", "is not taken as the classifier")
    assert any(words in note for note in opened.notes for words in said)


@pytest.mark.parametrize("name", ["heads.{}", "fc.{}", "classifiers.{}.1"])
def test_heads_side_by_side_in_a_list_are_asked_for(tmp_path, model, name):
    layers = [nn.Linear(96, outputs) for outputs in (5, 20)]
    state = prefixed(body(model), "backbone.")
    for number, layer in enumerate(layers):
        state |= prefixed(layer.state_dict(), f"{name.format(number)}.")
    path = save(state, tmp_path / "test_resnet.pth")
    with pytest.raises(CheckpointError, match="several classifiers"):
        open_model(path)
    opened = open_model(path, classifier_layer=name.format(1))
    assert torch.equal(opened.model.fc.weight, layers[1].weight)


IN_BETWEEN = {
    "a pooling's power": {"pooling.p": torch.ones(1)},
    "a pooling's power in the place of the pooling": {"backbone.global_pool.p": torch.ones(1)},
    "a norm": {"bn.weight": torch.ones(96), "bn.bias": torch.ones(96)},
    "a gate": {"gate.weight": torch.ones(1, 96, 1, 1), "gate.bias": torch.ones(1)},
    "a layer of as many outputs": {"pre_logits.fc.weight": torch.ones(96, 96)},
    "a layer on the images": {"input_conv.weight": torch.ones(3, 4, 1, 1)},
    "a transformation of the images": {"localization.0.weight": torch.ones(8, 3, 7, 7)},
    "a scale in the classifier": {"backbone.fc.sigma": torch.ones(1)},
}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", IN_BETWEEN)
def test_a_classifier_behind_something_else_is_said_and_not_taken(tmp_path, model, kind, ordered):
    extra = IN_BETWEEN[kind]
    if not ordered and kind.endswith("in the place of the pooling"):
        pytest.skip("Where the order is lost, it is another network.")
    path = tmp_path / ("test_resnet.pth" if ordered else "test_resnet.safetensors")
    save({**prefixed(model.state_dict(), "backbone."), **extra}, path, path.suffix[1:])
    opened = open_model(path)
    assert opened.recipe.provenance.untrained == ("classifier",)
    (note,) = (note for note in opened.notes if "is not taken as the classifier" in note)
    assert any(name in note for name in extra)
    taken = open_model(path, classifier_layer="backbone.fc")
    assert torch.equal(answers(taken.model), answers(model))
    assert not any("is not taken" in note for note in taken.notes)


BESIDE_THE_CLASSIFIER = {
    "a head of its own": {"rotation.0.weight": torch.ones(4, 96), "rotation.0.bias": torch.ones(4)},
    "a projection": {"proj.0.weight": torch.ones(96, 96), "proj.0.bias": torch.ones(96)},
    "numbers of a loss": {"label_smoothing": torch.tensor(0.1), "log_var": torch.ones(1)},
    "a segmentation": {"segmentation_head.0.weight": torch.ones(1, 16, 3, 3)},
    "margins": {"arc.weight": torch.ones(7, 96)},
    "a copy of the network": None,
    **{kind: tensors for kind, tensors in BESIDE.items() if tensors},
}


@pytest.mark.parametrize("kind", BESIDE_THE_CLASSIFIER)
def test_a_classifier_stays_with_what_does_not_change_the_features(tmp_path, model, kind):
    copied = prefixed(model.state_dict(), "attacker.model.")
    state = {**prefixed(model.state_dict(), "model."), **(BESIDE_THE_CLASSIFIER[kind] or copied)}
    opened = open_model(save(state, tmp_path / "test_resnet.pth"))
    assert opened.recipe.provenance.untrained == ()
    assert torch.equal(answers(opened.model), answers(model))


def test_a_classifier_outside_of_a_body_of_other_names_is_found(tmp_path):
    torch.manual_seed(0)
    own = torchvision.models.mobilenet_v2(num_classes=5).eval()
    state = prefixed(own.features.state_dict(), "backbone.")
    path = tmp_path / "mobilenet_v2.pth"
    opened = open_model(save(state | prefixed(own.classifier[1].state_dict(), "fc."), path))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(opened.model(images), own(images), atol=1e-5)
    assert opened.checkpoint.ignored == ()
    opened = open_model(
        save({**state, "pool.p": torch.ones(1), "fc.weight": torch.ones(5, 1280)}, path)
    )
    assert opened.recipe.provenance.untrained == ("classifier",)
    assert any("fc is not taken as the classifier" in note for note in opened.notes)


PARTS = {
    "attention stored last": {
        "ca1.0.weight": torch.ones(6, 96),
        "sa1.weight": torch.ones(1, 2, 7, 7),
    },
    "prompts": {"prompt_embeddings": torch.ones(1, 10, 96)},
}


@pytest.mark.parametrize("kind", PARTS)
def test_parts_that_are_stored_behind_the_body_make_it_another_network(tmp_path, model, kind):
    with pytest.raises(UnrecognizedCheckpointError, match="of no architecture"):
        open_model(save({**model.state_dict(), **PARTS[kind]}, tmp_path / "test_resnet.pth"))


ANOTHER_NETWORK = {
    "a gate inside a block": {"layer1.0.gate.weight": torch.ones(16)},
    "attention of its own before the blocks": {"ca.fc1.weight": torch.ones(4, 16, 1, 1)},
}


@pytest.mark.parametrize("kind", ANOTHER_NETWORK)
def test_tensors_that_change_what_the_body_computes_make_it_another_network(tmp_path, model, kind):
    state = body(model)
    first = next(iter(state))
    state = {first: state.pop(first), **ANOTHER_NETWORK[kind], **state}
    with pytest.raises(UnrecognizedCheckpointError, match="of no architecture") as told:
        open_model(save(state, tmp_path / "test_resnet.pth"))
    assert next(iter(ANOTHER_NETWORK[kind])) in told.value.hint
    with pytest.raises(UnrecognizedCheckpointError, match="does not fit test_resnet"):
        open_model(tmp_path / "test_resnet.pth", arch="test_resnet")


def vit(**arguments):
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=5, **arguments).eval()


def see(model, size):
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(images)


def test_mean_pooling_is_read_from_the_norm_behind_it(tmp_path):
    model = vit(global_pool="avg")
    nn.init.normal_(model.fc_norm.bias)
    opened = open_model(save(model.state_dict(), tmp_path / "weights.pth"), arch="test_vit")
    assert opened.recipe.base.arguments == {"global_pool": "avg"}
    assert any("patch tokens are averaged" in note for note in opened.notes)
    assert torch.equal(see(opened.model, 160), see(model, 160))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("arch", [None, "test_vit"])
def test_position_embeddings_say_the_size_of_the_images(tmp_path, kind, arch):
    model = vit(img_size=224)
    path = save(model.state_dict(), tmp_path / "test_vit.pth", kind)
    opened = open_model(path, arch=arch)
    assert opened.recipe.base.arguments == {"img_size": [224, 224]}
    assert opened.recipe.input.size == (224, 224)
    assert torch.equal(see(opened.model, 224), see(model, 224))


def test_patches_of_another_size_are_built(tmp_path):
    model = vit(img_size=64, patch_size=8)
    opened = open_model(save(model.state_dict(), tmp_path / "test_vit.pth"))
    assert opened.recipe.base.arguments == {"patch_size": 8, "img_size": [64, 64]}
    assert torch.equal(see(opened.model, 64), see(model, 64))


def test_a_grid_that_is_not_square_needs_the_size(tmp_path):
    model = vit(img_size=(128, 64))
    path = save(model.state_dict(), tmp_path / "test_vit.pth")
    with pytest.raises(UnrecognizedCheckpointError, match="pos_embed") as told:
        open_model(path)
    assert "--img-size" in told.value.hint
    opened = open_model(path, input={"size": (128, 64)})
    assert opened.recipe.base.arguments == {"img_size": [128, 64]}
    arguments = argparse.Namespace(model="test_vit", input_size=[3, 128, 64])
    opened = open_model(save({"state_dict": model.state_dict(), "args": arguments}, path))
    assert opened.recipe.base.arguments == {"img_size": [128, 64]}


def test_a_size_that_is_asked_for_is_reached_by_resampling(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    path = save(model.state_dict(), tmp_path / "vit_tiny_patch16_224.pth")
    opened = open_model(path, input={"size": (96, 96)})
    assert (opened.recipe.input.size, see(opened.model, 96).shape) == ((96, 96), (2, 5))
    model.set_input_size(img_size=(96, 96))
    assert torch.equal(opened.model.pos_embed, model.pos_embed)
    assert any("resampled for images of 96x96" in note for note in opened.notes)


@pytest.mark.parametrize("first", [True, False])
def test_a_mask_token_is_no_classifier(tmp_path, first):
    model = vit().eval()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("head.")}
    token = {"mask_token": torch.zeros(1, 64)}
    path = save({**token, **state} if first else {**state, **token}, tmp_path / "test_vit.pth")
    opened = open_model(path)
    assert opened.checkpoint.ignored == ("mask_token",)
    assert opened.identification.num_classes is None


def test_sorted_tensors_are_not_matched_by_their_order(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    renamed = {n.replace("blocks.", "stage.layer."): t for n, t in model.state_dict().items()}
    renamed = {n.replace("attn.", "mixer.").replace("mlp.", "feed."): t for n, t in renamed.items()}
    path = save({n: renamed[n] for n in sorted(renamed)}, tmp_path / "sorted.pth")
    found = identify(path)  # by modules and their numbers, though blocks.10 stands before blocks.2
    assert found.match == "names"
    opened = open_model(path, arch="vit_tiny_patch16_224")
    state = opened.model.state_dict()
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_renamed_modules_are_matched_without_an_order(tmp_path, model, kind):
    state = {
        name.replace("layer", "stage").replace("conv1", "first").replace("fc.", "out.classes."): t
        for name, t in model.state_dict().items()
    }
    opened = open_model(save(state, tmp_path / "mine.pth", kind), arch="test_resnet")
    assert torch.equal(answers(opened.model), answers(model))


def test_where_only_the_order_could_decide_a_file_without_one_is_refused(tmp_path, model):
    letters = iter("zyxwvutsrqponmlkjihgfedcba" * 9)
    modules: dict[str, str] = {}
    state = {}
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        module, _, leaf = name.rpartition(".")
        state[f"{modules.setdefault(module, f'{next(letters)}{number}_')}.{leaf}"] = tensor
    assert identify(save(state, tmp_path / "a.pth")).match == "order"
    with pytest.raises(UnrecognizedCheckpointError, match="does not fit test_resnet"):
        open_model(save(state, tmp_path / "a.safetensors", "safetensors"), arch="test_resnet")
