"""The column `distance` of predictions, and answers of none of the classes."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from images import truncate, write_classes
from in_process import covtool as run

import covtool
from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import ArgumentError, InterruptedRunError
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.ops.neighbors import Neighbors, normalized
from covtool.prediction.predicting import predict_images
from covtool.prediction.request import PredictionRequest
from covtool.specs import (
    BaseSpec,
    InputSpec,
    LaunchSpec,
    NeighborSpec,
    PredictionSpec,
    Provenance,
    Recipe,
)

KEPT = 20


def make(*, seed=0, kept=KEPT):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    torch.nn.init.normal_(model.get_classifier().weight, std=3)
    said = NeighborSpec(layer="fc", nearest=3, data="toy", images=kept) if kept else None
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=("a", "b", "c"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
        neighbors=said,
    )
    if kept:
        torch.manual_seed(seed)
        model.neighbors = Neighbors.of(normalized(torch.rand(kept, model.num_features)))
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with models and images, left as it is."""
    folder = tmp_path_factory.mktemp("trained")
    save(make(), folder / "net.safetensors")
    save(make(kept=0), folder / "plain.safetensors")
    write_classes(folder / "data", {"a": 4, "b": 3})
    return folder


@pytest.fixture
def asked(trained, tmp_path):
    return PredictionRequest(
        source=str(trained / "net.safetensors"),
        images=(str(trained / "data"),),
        output=tmp_path / "answers.csv",
        batch_size=3,
        workers=0,
        device="cpu",
        launch=LaunchSpec(dist_timeout=60),
    )


def rows_in(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def measured(asked, view=lambda images: images):
    """Distances of views of the images, by the scorer of an evaluation."""
    model = covtool.load(asked.source.name)
    samples = [Sample(path, 0) for path in sorted(Path(asked.images[0]).rglob("*.png"))]
    loader = evaluation_loader(samples, model.recipe.input, batch_size=3, workers=0)
    with torch.no_grad(), NeighborScorer.of(model) as scorer:
        for images, _ in loader:
            model(view(images))
        return scorer.take()


@pytest.mark.parametrize("tta", [None, "flip"])
def test_the_column_is_the_distance_of_an_evaluation_or_the_mean_over_views(tta, asked):
    predict_images(replace(asked, spec=PredictionSpec(tta=tta)))
    rows = rows_in(asked.output)
    expected = measured(asked)
    if tta:
        expected = (expected + measured(asked, lambda images: images.flip(-1))) / 2
    assert list(rows[0])[-2:] == ["distance", "error"]
    assert [float(row["distance"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-6)
    assert len({row["distance"] for row in rows}) > 1


def test_records_and_objects_have_it_and_files_without_embeddings_have_not(asked, trained):
    predict_images(asked)
    distances = [float(row["distance"]) for row in rows_in(asked.output)]
    known = covtool.predict(str(trained / "net.safetensors"), str(trained / "data"), batch_size=3)
    assert [one.distance for one in known] == pytest.approx(distances)
    done = run("predict", trained / "net.safetensors", trained / "data", "--json", "-j", 0)
    shown = [one["distance"] for one in json.loads(done.stdout)["predictions"]]
    assert shown == pytest.approx(distances, rel=1e-5)
    table = run("predict", trained / "net.safetensors", trained / "data", "-j", 0).stdout
    assert "distance" in table
    assert f"{distances[0]:.3f}" in table
    plain = replace(asked, source=str(trained / "plain.safetensors"), overwrite=True)
    predict_images(plain)
    assert "distance" not in rows_in(asked.output)[0]
    (one, *_) = covtool.predict(str(trained / "plain.safetensors"), str(trained / "data"))
    assert one.distance is None


def test_an_image_beyond_the_distance_is_of_none_of_the_classes(asked):
    predict_images(asked)
    before = rows_in(asked.output)
    farthest = sorted(float(row["distance"]) for row in before)[2]
    spec = PredictionSpec(max_distance=farthest + 1e-6)
    predict_images(replace(asked, spec=spec, overwrite=True))
    rows = rows_in(asked.output)
    assert sum(bool(row["class_1"]) for row in rows) == 3
    for row, old in zip(rows, before, strict=True):
        is_far = float(row["distance"]) > farthest + 1e-6
        names = [row[f"class_{place}"] for place in (1, 2, 3)]
        assert names == ["", "", ""] if is_far else names == list(old.values())[1:7:2]
        # The numbers stay what they are.
        assert row["probability_1"] == old["probability_1"]
        assert row["distance"] == old["distance"]


def test_without_embeddings_a_largest_distance_is_refused(asked, trained):
    plain = str(trained / "plain.safetensors")
    spec = PredictionSpec(max_distance=0.5)
    with pytest.raises(ArgumentError, match="keeps no training embeddings"):
        predict_images(replace(asked, source=plain, spec=spec))
    assert not list(asked.output.parent.iterdir())
    with pytest.raises(ArgumentError, match="keeps no training embeddings"):
        covtool.predict(plain, str(trained / "data"), max_distance=0.5)


def stopped(iterable, description, total):
    for number, item in enumerate(iterable):
        if number == 1:
            raise KeyboardInterrupt
        yield item


def test_a_bad_image_has_no_distance_and_an_interrupted_file_goes_on(asked, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 4, "b": 3})
    truncate(data / "a/001.png")
    whole = replace(asked, images=(str(data),), output=tmp_path / "whole.csv")
    predict_images(replace(whole, sheet=tmp_path / "whole.png"))
    assert [not row["distance"] for row in rows_in(whole.output)] == [False, True, *[False] * 5]
    part = replace(asked, images=(str(data),))
    with pytest.raises(InterruptedRunError):
        predict_images(part, track=stopped)
    predict_images(replace(part, resume=True, sheet=tmp_path / "part.png"))
    assert part.output.read_bytes() == whole.output.read_bytes()
    assert (tmp_path / "part.png").stat().st_size > 0


def test_with_other_embeddings_it_does_not_go_on(asked, tmp_path):
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=stopped)
    for number, other in enumerate((make(seed=1), make(kept=0))):
        source = str(save(other, tmp_path / f"{number}.safetensors"))
        with pytest.raises(ArgumentError, match="another set of training embeddings"):
            predict_images(replace(asked, source=source, resume=True))
