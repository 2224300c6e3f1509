"""Averages of tiny models: the numbers, what is refused, and what the file says afterwards."""

import pytest
import torch
from averaged_models import SMALL, make_variant, write_variant
from torch.nn.functional import normalize
from torch.optim.swa_utils import update_bn
from toy_data import write_toy_data

from covtool.averaging import AverageRequest, average
from covtool.averaging.batch_norms import batch_norms, estimate_statistics_
from covtool.averaging.measuring import LabeledImages
from covtool.checkpoints.kept_neighbors import PREFIX
from covtool.checkpoints.model_file import load, read_recipe, save
from covtool.errors import ArgumentError, CheckpointError, DataError, OutputExistsError
from covtool.evaluation.classification.held_out import score_spec
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.ops.neighbors import Neighbors
from covtool.ops.temperature import fit_temperature
from covtool.progress import silent
from covtool.safetensors_header import read_header
from covtool.specs import HeadSpec, NeighborSpec, ScoreSpec
from covtool.specs.provenance import AverageStep, ConversionStep, TrainingStep
from covtool.surgery import apply_head, plan_head

CONVERTED = ConversionStep(source="a.pth")
TRAINED = TrainingStep(command="finetune", data="toy", epochs=2, planned_epochs=2, opt="sgd")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [str(write_variant(folder, number)) for number in range(3)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=4)


def averaged(tmp_path, *models, **fields):
    fields = {"workers": 0, "device": "cpu", "output": tmp_path / "soup.safetensors", **fields}
    return average(AverageRequest(models=tuple(map(str, models)), **fields))


def expected(files, weights):
    """The same average by numpy's, in float64."""
    states = [load(file).state_dict() for file in files]
    return {
        key: sum(w * s[key].double().numpy() for w, s in zip(weights, states, strict=True))
        for key in states[0]
    }


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 1.0), (3.0, 0.5, 1e-3)])
def test_the_average_is_the_weighted_mean_in_float64(files, tmp_path, weights) -> None:
    done = averaged(tmp_path, *files, weights=weights)
    given = weights or (1, 1, 1)
    shares = [weight / sum(given) for weight in given]
    assert [source.weight for source in done.sources] == pytest.approx(shares)
    found = load(done.path).state_dict()
    for key, tensor in expected(files, shares).items():
        mean = torch.as_tensor(tensor)
        if not found[key].is_floating_point():
            mean = mean.round()
        torch.testing.assert_close(found[key], mean.to(found[key].dtype), rtol=2e-7, atol=1e-9)


def test_a_model_averaged_with_itself_is_the_same_to_the_last_bit(files, tmp_path) -> None:
    done = averaged(tmp_path, files[1], files[1], files[1])
    before, after = load(files[1]).state_dict(), load(done.path).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert "net1.safetensors is named 3 times." in done.notes


@pytest.mark.parametrize(("alpha", "end"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_a_line_are_its_models(files, tmp_path, alpha, end) -> None:
    done = averaged(tmp_path, between=(files[0], files[1]), alpha=alpha)
    before, after = load(files[end]).state_dict(), load(done.path).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [source.name for source in done.sources] == [f"net{end}.safetensors"]
    assert done.left_out == (f"net{1 - end}.safetensors",)


def test_float16_stays_and_a_mixture_becomes_float32(tmp_path) -> None:
    half = [write_variant(tmp_path, number, dtype=torch.float16) for number in (0, 1)]
    assert load(averaged(tmp_path, *half).path).fc.weight.dtype == torch.float16
    full = write_variant(tmp_path, 2)
    done = averaged(tmp_path, half[0], full, overwrite=True)
    assert load(done.path).fc.weight.dtype == torch.float32
    assert any("float16 and float32; the average is in float32" in note for note in done.notes)


def test_models_in_float16_are_measured_and_keep_their_dtype(toy, tmp_path) -> None:
    half = [write_variant(tmp_path, number, dtype=torch.float16) for number in (0, 1)]
    done = averaged(tmp_path, *half, data=toy, bn_data=toy)
    assert done.measured.images == 12
    found = load(done.path)
    assert (found.fc.weight.dtype, found.bn1.running_var.dtype) == (torch.float16, torch.float16)


CHANGED = {
    "another base": ({"name": "test_vit"}, "base.name: test_resnet and test_vit"),
    "another number": (
        {"num_classes": 2, "class_names": ("a", "b")},
        "classes: 3 and 2",
    ),
    "another name": ({"class_names": ("blue", "green", "rot")}, "class 2: red and rot"),
    "another order": (
        {"class_names": ("red", "green", "blue")},
        "class 0, of the same classes in another order: blue and red",
    ),
    "no names": ({"class_names": None}, "class names: known and not known"),
    "another input": (
        {"input": SMALL.model_copy(update={"size": (48, 48)})},
        "input.size: (32, 32) and (48, 48)",
    ),
    "random": ({"untrained": ("classifier",)}, "its classifier is random"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_models_of_another_structure_are_refused_with_the_first_difference(
    files, tmp_path, case
) -> None:
    changes, reason = CHANGED[case]
    other = write_variant(tmp_path, 7, **changes)
    with pytest.raises(CheckpointError) as refused:
        averaged(tmp_path, files[0], other)
    assert reason in refused.value.reason
    assert not (tmp_path / "soup.safetensors").exists()


def test_another_head_is_refused_by_its_field(tmp_path) -> None:
    made = []
    for number, dim in enumerate((8, 16)):
        model = make_variant(number)
        spec = HeadSpec(head="isqrt", dim=dim)
        plan = plan_head(model, spec, SMALL, num_classes=3)
        changed = apply_head(model, plan)
        changed.recipe = model.recipe.model_copy(update={"operations": (plan.spec,)})
        made.append(save(changed, tmp_path / f"{dim}.safetensors"))
    with pytest.raises(CheckpointError, match="of different structure") as refused:
        averaged(tmp_path, *made)
    assert refused.value.reason == "operation 1.dim: 8 and 16."


def test_embeddings_of_a_source_are_not_in_the_file(tmp_path) -> None:
    kept = NeighborSpec(layer="fc", nearest=2, data="toy train", images=4)
    files = []
    for number in (0, 1):
        model = make_variant(number, neighbors=kept)
        model.neighbors = Neighbors.of(normalize(torch.randn(4, model.fc.in_features)))
        files.append(save(model, tmp_path / f"{number}.safetensors"))
        assert any(name.startswith(PREFIX) for name in read_header(files[-1]).entries)
    done = averaged(tmp_path, *files)
    assert not any(name.startswith(PREFIX) for name in read_header(done.path).entries)
    assert load(done.path).neighbors is None


@pytest.mark.parametrize(
    "way", [{"greedy": True}, {"between": True}, {"bn_data": True}, {"split": "train"}]
)
def test_the_temperature_is_that_of_the_average_on_images_held_out(
    files, toy, tmp_path, way
) -> None:
    way = {**way, **({"bn_data": toy} if "bn_data" in way else {})}
    models = [] if "between" in way else files
    way = {**way, **({"between": tuple(files[:2])} if "between" in way else {})}
    done = averaged(tmp_path, *models, data=toy, **way)
    scores = read_recipe(done.path).scores
    if "split" in way:
        assert scores is None
        return
    images = LabeledImages.of(
        AverageRequest(models=(), output=tmp_path, data=toy, workers=0, device="cpu"),
        torch.device("cpu"),
        silent,
    )
    model = load(done.path)
    batches = list(images._batches(SMALL))
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch, _ in batches])
    fit = fit_temperature(logits, torch.cat([labels for _, labels in batches]))
    expected = score_spec(fit, "validation", done.measured.data)
    if expected is None:  # networks with random weights may know nothing
        assert "greedy" in way
        assert scores is None
        assert any("No temperature of predictions" in note for note in done.notes)
        return
    assert scores.temperature == pytest.approx(expected.temperature, rel=1e-4)
    assert scores.model_copy(update={"temperature": expected.temperature}) == expected


def test_weights_that_are_not_finite_are_refused(files, tmp_path) -> None:
    model = make_variant(8)
    model.fc.weight.data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="infinite or not numbers"):
        averaged(tmp_path, files[0], save(model, tmp_path / "bad.safetensors"))


def test_the_history_says_from_what_and_scores_are_dropped(tmp_path) -> None:
    score = ScoreSpec(temperature=2, method="validation", data="toy val", images=3)
    start = write_variant(tmp_path, 0, steps=(CONVERTED,), scores=score)
    end = write_variant(tmp_path, 1, steps=(CONVERTED, TRAINED), scores=score)
    recipe = read_recipe(averaged(tmp_path, between=(str(start), str(end)), alpha=0.25).path)
    assert recipe.provenance.steps[0] == CONVERTED
    step = recipe.provenance.steps[-1]
    assert isinstance(step, AverageStep)
    assert [(one.name, one.weight, len(one.history)) for one in step.sources] == [
        ("net0.safetensors", 0.75, 0),
        ("net1.safetensors", 0.25, 1),
    ]
    assert (recipe.scores, recipe.neighbors, recipe.provenance.metrics) == (None, None, ())
    assert recipe.provenance.history[-1] == (
        "average, line: 0.75 net0.safetensors, 0.25 net1.safetensors"
    )
    assert step.trained == ("ever", "conversion", "eigenlayer")


def test_figures_are_those_of_evaluate(files, toy, tmp_path) -> None:
    done = averaged(tmp_path, *files, data=toy)
    measured = evaluate(
        EvaluationRequest(source=str(done.path), data=toy, workers=0, device="cpu")
    ).result
    assert done.measured.top_1 == measured.top_1
    assert done.measured.loss == pytest.approx(measured.loss)
    metrics = {one.name: one for one in read_recipe(done.path).provenance.metrics}
    assert (metrics["top_1"].value, metrics["top_1"].data) == (measured.top_1, f"{toy.name} val")
    for point, file in zip(done.points, files, strict=True):
        alone = evaluate(EvaluationRequest(source=file, data=toy, workers=0, device="cpu")).result
        assert (point.top_1, point.loss) == (alone.top_1, pytest.approx(alone.loss))


def test_the_best_point_of_a_line_is_taken(files, toy, tmp_path) -> None:
    done = averaged(tmp_path, between=(files[0], files[1]), data=toy, steps=5)
    assert [point.alpha for point in done.points] == [0, 0.25, 0.5, 0.75, 1]
    best = max(done.points, key=lambda point: (point.top_1, -point.loss))
    assert [point for point in done.points if point.taken] == [best]
    assert (done.measured.top_1, done.measured.loss) == (best.top_1, best.loss)
    again = averaged(tmp_path, between=(files[0], files[1]), alpha=best.alpha, overwrite=True)
    assert load(again.path).state_dict().keys() == load(done.path).state_dict().keys()
    is_end = best.alpha in (0, 1)
    assert is_end == any("an end of the line" in note for note in done.notes)


def test_a_greedy_soup_never_ends_below_its_best_model(files, toy, tmp_path) -> None:
    done = averaged(tmp_path, *files, greedy=True, data=toy)
    alone = [point.top_1 for point in done.points]
    assert alone == sorted(alone, reverse=True)
    assert done.measured.top_1 >= alone[0]
    best = alone[0]
    for point in done.points[1:]:
        assert point.taken == (point.with_it >= best)
        best = max(best, point.with_it) if point.taken else best
    assert done.measured.top_1 == best
    taken = [point.name for point in done.points if point.taken]
    assert [source.name for source in done.sources] == taken
    assert read_recipe(done.path).provenance.steps[-1].data == f"{toy.name} val"


def test_batch_norms_are_estimated_as_torch_does() -> None:
    batches = [(torch.randn(8, 3, 32, 32), torch.zeros(8)) for _ in range(3)]
    ours = estimate_statistics_(make_variant(1), batches)
    theirs = make_variant(1)
    update_bn([images for images, _ in batches], theirs.train())
    assert batch_norms(ours)
    for mine, other in zip(batch_norms(ours), batch_norms(theirs), strict=True):
        torch.testing.assert_close(mine.running_mean, other.running_mean)
        torch.testing.assert_close(mine.running_var, other.running_var)
        assert (mine.momentum, mine.training) == (0.1, False)


def test_estimated_batch_norms_are_in_the_file_and_in_its_history(files, toy, tmp_path) -> None:
    plain = load(averaged(tmp_path, *files).path)
    done = averaged(tmp_path, *files, bn_data=toy, data=toy, overwrite=True, batch_size=5)
    found = load(done.path)
    assert not torch.equal(plain.bn1.running_var, found.bn1.running_var)
    assert torch.equal(plain.conv1[0].weight, found.conv1[0].weight)
    assert found.recipe.provenance.steps[-1].statistics == f"{toy.name} train"
    again = evaluate(EvaluationRequest(source=str(done.path), data=toy, workers=0, device="cpu"))
    assert done.measured.top_1 == again.result.top_1


WRONG = {
    "one model": ({"models": 1}, "needs two models"),
    "a count of weights": ({"models": 2, "weights": (1.0,)}, "1 weights for 2 models"),
    "a weight of zero": ({"models": 2, "weights": (1.0, 0.0)}, "positive numbers"),
    "greedy without data": ({"models": 2, "greedy": True}, "Nothing says which average"),
    "a line without data": ({"between": True}, "Nothing says which average"),
    "a line and models": ({"models": 1, "between": True, "alpha": 0.5}, "--between names both"),
    "alpha without a line": ({"models": 2, "alpha": 0.5}, "no"),
    "alpha beyond": ({"between": True, "alpha": 1.5}, "between 0, the start, and 1"),
    "a point": ({"between": True, "alpha": 0.5, "steps": 1}, "--steps is between 2"),
    "a split of nothing": ({"models": 2, "split": "val"}, "--split is a part"),
    "another format": ({"models": 2, "output": "soup.onnx"}, "not the name of a file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_requests_that_make_no_sense_are_refused(files, tmp_path, case) -> None:
    fields, message = WRONG[case]
    fields = dict(fields)
    models = files[: fields.pop("models", 0)]
    if fields.pop("between", False):
        fields["between"] = (files[0], files[1])
    if "output" in fields:
        fields["output"] = tmp_path / fields["output"]
    with pytest.raises(ArgumentError, match=message):
        averaged(tmp_path, *models, **fields)


def test_training_images_do_not_choose(files, tmp_path) -> None:
    flat = write_toy_data(tmp_path / "toy", train=2, val=2) / "train"
    with pytest.raises(DataError, match="no validation images") as refused:
        averaged(tmp_path, *files, greedy=True, data=flat)
    assert "--split all" in refused.value.hint
    done = averaged(tmp_path, *files, greedy=True, data=flat, split="all")
    assert done.measured.images == 6


def test_batch_norms_need_training_images_and_batch_norms(files, toy, tmp_path) -> None:
    with pytest.raises(ArgumentError, match="two images at least"):
        averaged(tmp_path, *files, bn_data=toy, batch_size=1)
    vits = [write_variant(tmp_path, number, name="test_vit") for number in (4, 5)]
    with pytest.raises(ArgumentError, match="no batch norms"):
        averaged(tmp_path, *vits, bn_data=toy)


def test_an_existing_output_stays(files, tmp_path) -> None:
    (tmp_path / "soup.safetensors").write_text("mine")
    with pytest.raises(OutputExistsError):
        averaged(tmp_path, *files)
    assert (tmp_path / "soup.safetensors").read_text() == "mine"


def test_an_option_in_the_place_of_an_end_is_named(files, tmp_path) -> None:
    with pytest.raises(ArgumentError, match="--data stands where --between needs a model"):
        averaged(tmp_path, "toy", between=(files[0], "--data"))
