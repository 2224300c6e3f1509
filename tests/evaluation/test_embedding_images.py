"""Features of images in a file, whole or not at all."""

from dataclasses import replace

import pytest
import torch
from images import truncate
from process_group import run_together
from retrieval_models import make_model, write_model
from retrieval_trees import CSV_ROWS, write_csv
from tolerances import EXACT

from covtool.checkpoints.model_file import save
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import DataError, NonFiniteError, OutputExistsError
from covtool.evaluation.embed import EmbedRequest, embed
from covtool.evaluation.features.files import read_features
from covtool.evaluation.features.table import ImageLabels
from covtool.specs import FeatureSpec, LaunchSpec


@pytest.fixture
def asked(tmp_path):
    return EmbedRequest(
        source=str(write_model(tmp_path, eigenlayer=7)),
        images=write_csv(tmp_path),
        output=tmp_path / "features.safetensors",
        batch_size=2,
        workers=0,
        device="cpu",
        launch=LaunchSpec(dist_timeout=60),
    )


def test_the_file_holds_features_and_all_that_is_known(asked):
    done = embed(asked)
    table = read_features(asked.output)
    assert table.labels == tuple(ImageLabels(*row) for row in CSV_ROWS)
    assert done.images == {"train": 4, "query": 2, "gallery": 3}
    assert (done.num_features, done.layer) == (7, "fc.classifier")


@pytest.mark.parametrize(
    ("feature", "layer", "size"),
    [("embedding", "fc.classifier", 7), ("pooled", "fc.eigenlayer", 96)],
)
def test_the_features_are_those_of_the_model(feature, layer, size, asked):
    done = embed(replace(asked, spec=FeatureSpec(feature=feature), split="query"))
    model = make_model(eigenlayer=7)
    samples = numbered(find_images(asked.images).splits["query"])
    ((images, _),) = evaluation_loader(samples, model.recipe.input, workers=0)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    expected = pooled if feature == "pooled" else model.fc.eigenlayer(pooled)
    assert (done.layer, done.num_features) == (layer, size)
    torch.testing.assert_close(read_features(asked.output).features, expected.detach())


def test_a_file_is_replaced_only_if_somebody_says_so(asked):
    asked.output.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        embed(asked)
    assert asked.output.read_bytes() == b"mine"
    embed(replace(asked, overwrite=True))
    assert len(read_features(asked.output).labels) == 9


def test_nothing_is_written_when_something_fails(asked, tmp_path):
    before = set(tmp_path.iterdir())
    truncate(tmp_path / "e/1.png")
    with pytest.raises(DataError, match="1 of 9 images cannot be read"):
        embed(asked)
    broken = make_model()
    torch.nn.init.constant_(broken.conv1[0].weight, 3e38)  # finite, and too large
    source = str(save(broken, tmp_path / "net.safetensors", overwrite=True))
    with pytest.raises(NonFiniteError):
        embed(replace(asked, source=source, split="train"))
    assert set(tmp_path.iterdir()) == before


def test_unreadable_images_may_be_left_out(asked, tmp_path):
    bad = truncate(tmp_path / "c/1.png")
    done = embed(replace(asked, on_bad_image="skip"))
    assert [path for path, _ in done.unreadable] == [bad]
    table = read_features(asked.output)
    assert [label.path for label in table.labels] == [r[0] for r in CSV_ROWS if r[0] != "c/1.png"]
    assert done.images["query"] == 1


def described(rank, request):
    return replace(embed(request), notes=())


def test_several_processes_write_the_file_that_one_writes(asked, tmp_path):
    alone = described(0, asked)
    together = replace(asked, output=tmp_path / "together.safetensors")
    for done in run_together(described, together, world=3):
        assert replace(done, path=alone.path) == alone
    assert together.output.read_bytes() == asked.output.read_bytes()
    first, second = (read_features(r.output).features for r in (asked, together))
    torch.testing.assert_close(first, second, **EXACT)
