"""Probabilities, their temperature and their distances, from files to figures."""

import json

import numpy as np
import pytest
import torch
from images import write_classes
from in_process import covtool
from scipy.special import log_softmax, softmax
from scipy.stats import mannwhitneyu
from toy_data import write_toy_data

from covtool import load
from covtool.checkpoints.model_file import save
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.evaluation.classification.held_out import (
    HeldOutLogits,
    note_on_chosen,
    note_on_temperature,
)
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.ops.temperature import fit_temperature
from covtool.specs import ScoreSpec

RUN = ("-j", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    return write_classes(root / "others", {"pear": 3, "plum": 4})


@pytest.fixture(scope="module")
def calibrated(data, tmp_path_factory):
    """A file with a temperature and neighbors, and the result as JSON."""
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    done = covtool(
        *("convert", "test_resnet", "--from-scratch", "--img-size", 32, "--head", "gap"),
        *("--calibrate", data, "--keep-neighbors", "-o", path, "--json", *RUN),
    )
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


def outputs(path, data, split="val"):
    model = load(path)
    loader = evaluation_loader(scan(data).samples(split), model.recipe.input, workers=0)
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in loader])
    return logits, torch.cat([labels for _, labels in loader])


def evaluated(path, data, *options):
    done = covtool("evaluate", path, "--data", data, "--json", *RUN, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_temperature(path, target, temperature):
    model = load(path)
    scores = model.recipe.scores
    update = None if temperature is None else scores.model_copy(update={"temperature": temperature})
    model.recipe = model.recipe.model_copy(update={"scores": update})
    return save(model, target)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0, None])
def test_figures_are_those_of_logits_divided_by_the_temperature(
    temperature, calibrated, data, tmp_path
) -> None:
    path = with_temperature(calibrated[0], tmp_path / "net.safetensors", temperature)
    logits, labels = (t.numpy() for t in outputs(path, data))
    shown = evaluated(path, data)
    assert shown["temperature"] == (temperature or 1.0)
    doubt = note_on_chosen(load(path).recipe.scores)
    assert (doubt is None) == (temperature is None)  # of few images it is a rough one
    assert [note for note in shown["notes"] if "temperature" in note] == [doubt] * bool(doubt)
    for figures, used in ((shown, temperature or 1.0), (shown["at_temperature_1"], 1.0)):
        scaled = logits.astype(np.float64) / used
        nll = -log_softmax(scaled, axis=1)[range(len(labels)), labels].mean()
        assert figures["nll"] == pytest.approx(nll, rel=1e-5)
        confidences = softmax(scaled, axis=1).max(axis=1)
        right = scaled.argmax(axis=1) == labels
        places = np.clip(np.ceil(confidences * 15).astype(int) - 1, 0, 14)
        gaps = [abs((right - confidences)[places == m].sum()) for m in range(15)]
        assert figures["ece"] == pytest.approx(100 * sum(gaps) / len(labels), rel=1e-4, abs=1e-4)
    # What was there before is of the logits as they are.
    assert shown["loss"] == pytest.approx(shown["at_temperature_1"]["nll"], rel=1e-5, abs=1e-6)


def test_the_temperature_of_a_calibration_is_that_of_its_left_out_predictions(
    calibrated, data
) -> None:
    path, shown = calibrated
    scores = load(path).recipe.scores
    assert (scores.method, scores.data, scores.images) == (
        "leave-one-out",
        f"{data.name} train",
        36,
    )
    assert shown["scores"]["temperature"] == scores.temperature
    # Each image left out of a ridge regression of its own, with the penalty that was chosen.
    model = load(path)
    fed, labels = [], []
    model.fc.register_forward_pre_hook(lambda _, given: fed.append(given[0]))
    loader = evaluation_loader(scan(data).samples("train"), model.recipe.input, workers=0)
    for images, some in loader:
        model(images)
        labels.append(some)
    features = torch.cat(fed).detach().double().numpy()
    labels = torch.cat(labels)
    targets = np.eye(3)[labels.numpy()]
    left_out = []
    for row in range(len(features)):
        others = np.arange(len(features)) != row
        x, y = features[others], targets[others]
        mean, center = x.mean(0), y.mean(0)
        gram = (x - mean).T @ (x - mean) + shown["calibration"]["penalty"] * np.eye(x.shape[1])
        weight = np.linalg.solve(gram, (x - mean).T @ (y - center))
        left_out.append((features[row] - mean) @ weight + center)
    logits = torch.tensor(shown["calibration"]["temperature"] * np.array(left_out))
    expected = fit_temperature(logits, labels)
    assert scores.temperature == pytest.approx(expected.temperature, rel=1e-4)
    assert scores.is_bounded == (expected.bound == "surest")


def test_scores_of_unknown_images_are_compared_pair_by_pair(calibrated, data, others) -> None:
    path, _ = calibrated
    found = evaluated(path, data, "--unknown", others)["unknown"]
    assert (found["data"], found["images"]) == ("others", 7)
    model = load(path)
    known, unknown = {}, {}
    for root, kept, split in ((data, known, "val"), (others, unknown, "train")):
        loader = evaluation_loader(scan(root).samples(split), model.recipe.input, workers=0)
        with NeighborScorer.of(model) as scorer, torch.no_grad():
            logits = torch.cat([model(images) for images, _ in loader]).double().numpy()
            kept["distance"] = scorer.take().numpy()
            assert len(scorer.take()) == 0
        kept["doubt"] = 1 - softmax(logits / model.recipe.scores.temperature, axis=1).max(axis=1)
    for score in ("distance", "doubt"):
        area = mannwhitneyu(unknown[score], known[score]).statistic / (18 * 7)
        assert found[score]["auroc"] == pytest.approx(100 * area, abs=1.0)


def test_a_table_names_both_scores_and_the_plain_probabilities(
    calibrated, data, others, tmp_path
) -> None:
    path = with_temperature(calibrated[0], tmp_path / "net.safetensors", 2.0)
    done = covtool("evaluate", path, "--data", data, "--unknown", others, *RUN)
    for text in ("ECE", "negative log-likelihood", "temperature", "area under ROC", "7 of others"):
        assert text in done.stdout


def test_a_file_without_embeddings_has_the_baseline_and_says_so(
    calibrated, data, others, tmp_path
) -> None:
    model = load(calibrated[0])
    model.recipe = model.recipe.model_copy(update={"neighbors": None})
    path = save(model, tmp_path / "net.safetensors")
    shown = evaluated(path, data, "--unknown", others)
    assert shown["unknown"]["distance"] is None
    assert shown["unknown"]["doubt"]["auroc"] > 0
    assert any("keeps no training embeddings" in note for note in shown["notes"])


def test_unknown_images_of_a_known_class_are_refused_and_labels_missed(
    calibrated, data, others, tmp_path
) -> None:
    write_classes(tmp_path / "mixed", {"Blue": 2, "pear": 2})
    done = covtool("evaluate", calibrated[0], "--data", data, "--unknown", tmp_path / "mixed", *RUN)
    assert done.returncode == 4
    assert "classes that the model knows: Blue" in done.stderr
    shown = evaluated(calibrated[0], data, "--unknown", others / "pear")
    assert any("on trust" in note for note in shown["notes"])
    done = covtool("evaluate", calibrated[0], "--data", data, "--unknown", "nowhere", *RUN)
    assert (done.returncode, "nowhere" in done.stderr) == (4, True)


def test_a_conversion_drops_what_was_of_other_weights(calibrated, tmp_path) -> None:
    path = tmp_path / "again.safetensors"
    done = covtool("convert", calibrated[0], "--conv", "tanh", "-o", path, *RUN)
    assert done.returncode == 0, done.stderr
    assert "temperature of predictions and training embeddings held for its weights" in done.stderr
    model = load(path)
    assert (model.recipe.scores, model.recipe.neighbors, model.neighbors) == (None, None, None)


def test_neighbors_need_images_and_a_new_head(data, tmp_path) -> None:
    for options in ((), ("--conv", "tanh", "--calibrate", data)):
        done = covtool(
            *("convert", "test_resnet", "--from-scratch", "--keep-neighbors", *options),
            *("-o", tmp_path / "net.safetensors"),
        )
        assert done.returncode == 2
        assert "--keep-neighbors" in done.stderr


def test_logits_of_many_images_are_thinned_evenly(monkeypatch) -> None:
    monkeypatch.setattr("covtool.evaluation.classification.held_out.MOST_LOGITS", 20)
    kept = HeldOutLogits(num_images=30, num_classes=2)
    for start in range(0, 30, 7):
        rows = torch.arange(start, min(start + 7, 30))
        kept.add(torch.stack([rows, rows], dim=1).float(), rows)
    assert kept.labels.tolist() == list(range(0, 30, 3))
    assert kept.logits[:, 0].tolist() == list(range(0, 30, 3))


def test_a_process_without_images_has_no_logits() -> None:
    kept = HeldOutLogits(num_images=30, num_classes=2)
    assert (kept.logits.shape, kept.labels.shape) == ((0, 2), (0,))


def test_rough_missing_and_bounded_temperatures_have_a_note() -> None:
    sound = ScoreSpec(temperature=0.5, method="validation", data="toy val", images=500)
    assert note_on_temperature(sound) is None
    assert "rough" in note_on_temperature(sound.model_copy(update={"images": 9}))
    assert "1 - 1/502" in note_on_temperature(sound.model_copy(update={"is_bounded": True}))
    assert "No temperature" in note_on_temperature(None)
    assert note_on_chosen(None) is None
