"""The temperature and the neighbors of exported models, of the weights that are in the file."""

import pytest
import torch
from process_group import run_together
from toy_data import write_toy_data
from training_runs import Recorder, content, cut_short, make_request

from covtool.checkpoints.model_file import load, read_recipe
from covtool.conversion import ConversionRequest, convert
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.ops.temperature import fit_temperature
from covtool.specs import HeadSpec, ModelSource
from covtool.training import finetune, resume_finetune


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


SETTINGS = {
    "everything": {"model_ema": True, "smoothing": 0.2, "mixup": 0.3, "keep_neighbors": True},
    "other heads": {"head_schedule": "isqrt@0,mpn:pade@1", "from_scratch": False},
    "frozen": {"freeze": ("backbone",), "grad_accum_steps": 2, "lr": 0.1},
}


def write_isqrt(folder):
    path = folder / "isqrt.safetensors"
    source = ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)})
    convert(
        ConversionRequest(source=source, operations=[HeadSpec(head="isqrt", dim=8)], output=path)
    )
    return str(path)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Runs with everything that stands between training and validation."""
    folder, done = tmp_path_factory.mktemp("runs"), {}

    def run(kind):
        if kind not in done:
            request = make_request(data, folder, experiment=kind, **SETTINGS[kind])
            if kind == "other heads":
                request = request.model_copy(update={"model": write_isqrt(folder)})
            done[kind] = request, finetune(request)
        return done[kind]

    return run


@pytest.fixture
def run(runs):
    return runs("everything")


@pytest.mark.parametrize("name", ["best", "last"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_the_temperature_is_that_of_the_exported_weights_on_clean_labels(
    name, kind, runs, data
) -> None:
    model = load(runs(kind)[1].exported[name])
    loader = evaluation_loader(scan(data).samples("val"), model.recipe.input, workers=0)
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in loader])
    fit = fit_temperature(logits, torch.cat([labels for _, labels in loader]))
    scores = model.recipe.scores
    if fit.bound == "hottest":
        assert scores is None
    else:
        assert scores.temperature == pytest.approx(fit.temperature, rel=1e-3)
        assert (scores.method, scores.images) == ("validation", 18)


@pytest.mark.parametrize("name", ["best", "last"])
def test_neighbors_are_the_training_images_as_the_file_sees_them(name, run, data) -> None:
    model = load(run[1].exported[name])
    assert model.recipe.neighbors.images == 36
    fed = []
    model.get_submodule(model.recipe.neighbors.layer).register_forward_pre_hook(
        lambda _, given: fed.append(given[0])
    )
    loader = evaluation_loader(scan(data).samples("train"), model.recipe.input, workers=0)
    with torch.no_grad():
        for images, _ in loader:
            model(images)
    assert float(model.neighbors.distances(torch.cat(fed), nearest=1).max()) < 0.05


def test_a_resumed_run_ends_with_the_same_scores(run, tmp_path) -> None:
    request, done = run
    again = request.model_copy(update={"output": str(tmp_path)})
    folder = cut_short(again, at_epoch=1)
    resumed = resume_finetune(folder)
    assert content(resumed.directory) == content(done.directory)
    for name in ("best", "last"):
        assert resumed.exported[name].read_bytes() == done.exported[name].read_bytes()


def test_a_run_that_is_through_gets_neighbors_when_they_are_asked_for(data, tmp_path) -> None:
    done = finetune(make_request(data, tmp_path, epochs=1))
    assert read_recipe(done.exported["best"]).neighbors is None
    before = load(done.exported["best"])
    resume_finetune(done.directory, changes={"keep_neighbors": True})
    after = load(done.exported["best"])
    assert after.recipe.neighbors.images == 36
    assert after.recipe.model_copy(update={"neighbors": None}) == before.recipe
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor)


def test_training_goes_on_without_the_scores_of_the_source(run, data, tmp_path) -> None:
    source = str(run[1].exported["best"])
    settings = {"from_scratch": False, "epochs": 1, "lr": 1e-4}
    done = finetune(make_request(data, tmp_path, model=source, **settings))
    recipe = read_recipe(done.exported["last"])
    assert recipe.neighbors is None
    assert load(done.exported["last"]).neighbors is None
    assert "neighbors" not in (done.directory / "recipe.yaml").read_text(encoding="utf-8")
    assert "scores" not in (done.directory / "recipe.yaml").read_text(encoding="utf-8")


def test_a_classifier_that_is_not_trained_gets_no_temperature(data, tmp_path) -> None:
    observer = Recorder()
    settings = {
        "loss": "triplet",
        "sampler": "pk",
        "batch_size": 6,
        "num_instances": 2,
        "epochs": 1,
    }
    done = finetune(make_request(data, tmp_path, **settings), observer=observer)
    assert read_recipe(done.exported["best"]).scores is None
    assert any("classifier is not trained: no temperature" in note for note in observer.notes)


def train_together(rank, request):
    return finetune(request).exported


@pytest.mark.parametrize("batch_size", [4, 32])
def test_two_processes_choose_the_scores_of_one(batch_size, data, tmp_path) -> None:
    """With the larger batches, the second process has no validation image at all."""
    settings = {"model": "test_convnext", "smoothing": 0, "epochs": 1, "keep_neighbors": True}
    one = finetune(make_request(data, tmp_path / "1", batch_size=2 * batch_size, **settings))
    halved = make_request(data, tmp_path / "2", batch_size=batch_size, **settings)
    exported, of_second = run_together(train_together, halved)
    assert exported == of_second
    for name in ("best", "last"):
        alone, together = load(one.exported[name]), load(exported[name])
        assert together.recipe.neighbors == alone.recipe.neighbors
        axes = torch.eye(alone.neighbors.num_features)[:5]
        torch.testing.assert_close(
            together.neighbors.distances(axes, nearest=3),
            alone.neighbors.distances(axes, nearest=3),
            rtol=0,
            atol=0.01,
        )
        assert (together.recipe.scores is None) == (alone.recipe.scores is None)
        if alone.recipe.scores is not None:
            expected = pytest.approx(alone.recipe.scores.temperature, rel=1e-3)
            assert together.recipe.scores.temperature == expected
            assert together.recipe.scores.images == 18
