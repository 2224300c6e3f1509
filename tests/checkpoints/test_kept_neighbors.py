"""Training embeddings in a model's file: there for those who ask, and no part of the model."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import EXACT
from torch.testing import assert_close

from covtool import load, open_model
from covtool.backbones.create import create_model
from covtool.checkpoints.foreign import read_checkpoint
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.kept_images import KeptImages, kept_images_of
from covtool.checkpoints.kept_neighbors import PREFIX, neighbors_of
from covtool.checkpoints.model_file import RECIPE_KEY, save
from covtool.checkpoints.tensor_files import read_metadata
from covtool.errors import CheckpointError, SaveError
from covtool.ops.neighbors import Neighbors
from covtool.specs import BaseSpec, InputSpec, NeighborSpec, Provenance, Recipe

BASE = BaseSpec(library="timm", name="test_resnet")
KEPT = 9


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_model(BASE, num_classes=3)
    features = model.fc.in_features
    model.neighbors = Neighbors.of(torch.nn.functional.normalize(torch.randn(KEPT, features)))
    model.recipe = Recipe(
        base=BASE,
        num_classes=3,
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
        neighbors=NeighborSpec(layer="fc", nearest=2, data="toy train", images=KEPT),
    )
    return model


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return save(model, tmp_path_factory.mktemp("kept") / "net.safetensors")


def rewritten(file, path, change, recipe=None):
    """The file with other tensors, without a checksum: as any program could have written it."""
    metadata = dict(read_metadata(file))
    metadata.pop("covtool.sha256")
    if recipe is not None:
        metadata[RECIPE_KEY] = json.dumps({**json.loads(metadata[RECIPE_KEY]), **recipe})
    save_file(change(load_file(file)), path, metadata=metadata)
    return path


def test_they_come_back_and_the_state_dict_is_the_models_own(model, file) -> None:
    for opened in (load(file), open_model(str(file)).model):
        assert opened.state_dict().keys() == create_model(BASE, num_classes=3).state_dict().keys()
        assert_close(opened.neighbors.tensors, model.neighbors.tensors, **EXACT)
        assert neighbors_of(opened) is opened.neighbors


def test_what_they_are_of_comes_back_too(model, tmp_path) -> None:
    copied = copy.deepcopy(model)
    names = tuple(f"train/a/{k}.jpg" for k in range(KEPT))
    copied.neighbor_images = KeptImages(paths=names, classes=("a",) * KEPT, digests=("",) * KEPT)
    file = save(copied, tmp_path / "named.safetensors")
    opened = load(file)
    assert kept_images_of(opened) == copied.neighbor_images
    assert save(opened, tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    opened.recipe = opened.recipe.model_copy(update={"neighbors": None})
    assert kept_images_of(opened) is None


def test_saving_again_gives_the_same_bytes(file, tmp_path) -> None:
    again = save(load(file), tmp_path / "again.safetensors")
    assert again.read_bytes() == file.read_bytes()


def test_who_drops_the_recipes_word_drops_them(model, file, tmp_path) -> None:
    changed = load(file)
    changed.recipe = changed.recipe.model_copy(update={"neighbors": None})
    assert neighbors_of(changed) is None
    plain = save(changed, tmp_path / "plain.safetensors")
    assert not [name for name in load_file(plain) if name.startswith(PREFIX)]
    assert load(plain).neighbors is None
    assert b"neighbors" not in plain.read_bytes()


def test_they_are_not_counted_as_the_networks(model, file) -> None:
    found, _ = inspect_source(str(file))
    assert found.tensors.count == len(model.state_dict())
    assert not [n for n in read_checkpoint(file).tensors if n.startswith(PREFIX)]
    assert found.recipe.neighbors.images == KEPT


def test_a_recipe_without_embeddings_behind_it_is_not_saved(model, tmp_path) -> None:
    bare = create_model(BASE, num_classes=3)
    bare.recipe = model.recipe
    with pytest.raises(SaveError, match="has none"):
        save(bare, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


DAMAGE = {
    "one is missing": lambda t: {n: v for n, v in t.items() if n != f"{PREFIX}codes"},
    "all are missing": lambda t: {n: v for n, v in t.items() if not n.startswith(PREFIX)},
    "one too many": lambda t: {**t, f"{PREFIX}more": torch.ones(2)},
    "names of others": lambda t: {
        **t,
        f"{PREFIX}images": KeptImages(paths=("a",), classes=("a",), digests=("",)).packed,
    },
    "not finite": lambda t: {**t, f"{PREFIX}mean": torch.full_like(t[f"{PREFIX}mean"], torch.nan)},
    "fewer rows": lambda t: {
        n: v[:-1] if n.removeprefix(PREFIX) in ("codes", "scales", "remainders") else v
        for n, v in t.items()
    },
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_tensors_that_do_not_fit_the_recipe_are_refused(damage, file, tmp_path) -> None:
    path = rewritten(file, tmp_path / "net.safetensors", damage)
    with pytest.raises(CheckpointError, match=r"training embeddings in .* do not fit"):
        load(path)


@pytest.mark.parametrize(
    "neighbors",
    [
        None,
        {"layer": "conv1", "nearest": 2, "data": "", "images": KEPT},
        {"layer": "nowhere", "nearest": 2, "data": "", "images": KEPT},
        {"layer": "", "nearest": 2, "data": "", "images": KEPT},
        {"layer": "fc", "nearest": 2, "data": "", "images": KEPT + 1},
    ],
)
def test_a_recipe_that_does_not_fit_the_tensors_is_refused(neighbors, file, tmp_path) -> None:
    path = rewritten(file, tmp_path / "net.safetensors", dict, recipe={"neighbors": neighbors})
    with pytest.raises(CheckpointError, match=r"training embeddings in .* do not fit"):
        load(path)


def test_a_flipped_bit_in_them_is_found(file, tmp_path) -> None:
    content = bytearray(file.read_bytes())
    codes = load_file(file)[f"{PREFIX}codes"].numpy().tobytes()
    content[content.index(codes)] ^= 1
    damaged = tmp_path / "net.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match="not those that covtool wrote"):
        load(damaged)
