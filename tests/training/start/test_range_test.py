"""`--lr auto`: a range test before a run, of which the run notices nothing but the rate."""

import csv
import math
from itertools import pairwise

import pytest
import torch
import yaml
from process_group import run_together
from training_runs import Recorder, content, cut_short, make_request

from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError, DataError, RangeTestError
from covtool.processes import ALONE
from covtool.run_files import ARGUMENTS, RATES
from covtool.specs import HeadSpec, InputOverrides, ModelSource
from covtool.training import find_learning_rate, finetune, plan_finetune, resume_finetune
from covtool.training.parts.rate_choice import is_over
from covtool.training.run.observer import SilentObserver
from covtool.training.run.random_state import capture_generators
from covtool.training.start.model_defaults import resolve_for_model
from covtool.training.start.prepare import (
    gather,
    open_source,
    read_layout,
    resolve_defaults,
)
from covtool.training.start.range_test import ramp_rates, run_ramp

# Each setting is in one of them: a trace of the test shows in a run's bytes, whatever else is set.
VARIANTS = {
    "gc-clip-accum-mixup": {
        "gc": True,
        "clip_grad": 0.5,
        "grad_accum_steps": 2,
        "model_ema": True,
        "mixup": 0.4,
        "sampler": "balanced",
    },
    "adamw-update-statistics": {
        "opt": "adamw",
        "gc": True,
        "gc_on": "update",
        "bn_stats": "train",
        "layer_decay": 0.7,
        "freeze_epochs": 1,
    },
    "dropout-bfloat16": {
        "model": "test_efficientnet",
        "head_lr_mult": 0.5,
        "amp": True,
        "amp_dtype": "bfloat16",
    },
}


def rows_in(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def arguments(result):
    return yaml.safe_load((result.directory / ARGUMENTS).read_text())


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_the_run_is_that_of_the_rate_given_to_the_last_byte(asked, settings):
    settings = {"from_scratch": True, **settings}
    found = finetune(asked(lr="auto", **settings))
    saved = arguments(found)
    rule = saved.pop("lr_rule")
    assert isinstance(saved["lr"], float)
    assert "held-out loss" in rule
    given = finetune(asked(lr=saved["lr"], **settings))
    assert arguments(given) == saved
    assert content(given.directory) == content(found.directory)
    for name in ("last", "best"):
        files = [r.exported[name].read_bytes() for r in (given, found)]
        assert files[0] == files[1]
    names = [
        {str(p.relative_to(r.directory)) for p in r.directory.rglob("*")} for r in (found, given)
    ]
    assert names[0] - names[1] == {RATES}


def material_of(request):
    observer = SilentObserver()
    request = resolve_defaults(request, ALONE)
    layout = read_layout(request, observer)
    opened = open_source(request, observer, ALONE)
    request = resolve_for_model(request, opened.recipe, layout)
    return gather(opened, request, layout, observer, ALONE), request


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_ramp_changes_neither_weights_nor_generators(asked):
    material, request = material_of(asked(lr="auto", bn_stats="train", mixup=0.4))
    before, generators = copied(material.opened.model), capture_generators()
    modes = [module.training for module in material.opened.model.modules()]
    trained = [p.requires_grad for p in material.opened.model.parameters()]
    points = run_ramp(material, request, SilentObserver(), ALONE)
    after = capture_generators()
    assert torch.equal(generators.pop("torch"), after.pop("torch"))
    assert generators == after
    assert all(torch.equal(t, before[n]) for n, t in material.opened.model.state_dict().items())
    assert modes == [module.training for module in material.opened.model.modules()]
    assert trained == [p.requires_grad for p in material.opened.model.parameters()]
    # It did train: the loss of the copy is another one, and ends far above.
    losses = [point.held_out_loss for point in points]
    assert min(losses) < losses[0] or not losses[-1] <= 2 * losses[0]


def test_rates_rise_by_one_factor_and_stop_where_the_loss_explodes(asked):
    material, request = material_of(asked(lr="auto", warmup_lr=1e-4))
    start, *updates = run_ramp(material, request, SilentObserver(), ALONE)
    assert (start.lr, start.train_loss) == (0.0, None)
    rates = ramp_rates(3e-4, 32)
    assert [point.lr for point in updates] == pytest.approx(rates[: len(updates)])
    assert rates[-1] == pytest.approx(10)
    ratios = [b / a for a, b in pairwise(rates)]
    assert ratios == pytest.approx([ratios[0]] * 31)
    losses = [point.held_out_loss for point in updates]
    overs = [is_over(losses[:done], start=start.held_out_loss) for done in range(1, len(losses))]
    assert not any(overs)
    assert len(updates) == 32 or is_over(losses, start=start.held_out_loss)


def test_a_loss_that_is_not_finite_ends_the_ramp_and_leaves_no_diagnosis(asked, monkeypatch):
    import covtool.training.start.range_test as module

    monkeypatch.setattr(module, "HIGHEST", 1e30)
    material, request = material_of(asked(lr="auto", output="unused"))
    monkeypatch.setattr(module, "is_over", lambda losses, start: not math.isfinite(losses[-1]))
    *_, last = run_ramp(material, request, SilentObserver(), ALONE)
    assert not math.isfinite(last.held_out_loss)


def test_multipliers_and_frozen_parameters_are_those_of_the_first_epoch(asked, monkeypatch):
    import covtool.training.start.range_test as module

    seen = []

    def spied(parts, batches, *given, **settings):
        groups = [(g["lr"], g["lr_scale"]) for g in parts.optimizer.param_groups]
        names = {n for n, p in parts.model.named_parameters() if p.requires_grad}
        seen.append((groups, names, len(batches)))
        return update(parts, batches, *given, **settings)

    update = module.update_
    monkeypatch.setattr(module, "update_", spied)
    settings = {"head_lr_mult": 3.0, "freeze_epochs": 1, "grad_accum_steps": 2}
    material, request = material_of(asked(lr="auto", **settings))
    observer = Recorder()
    points = run_ramp(material, request, observer, ALONE)
    for (groups, names, _), point in zip(seen, points[1:], strict=True):
        assert {scale for _, scale in groups} == {1.0, 3.0}
        assert all(lr == point.lr * scale for lr, scale in groups)
        assert names == {"fc.weight", "fc.bias"}  # in its later passes over the images as well
    assert {count for _, _, count in seen} == {2}
    assert any("thaws later" in note for note in observer.notes)


@pytest.fixture(scope="module")
def calibrated(data, tmp_path_factory):
    file = tmp_path_factory.mktemp("calibrated") / "model.safetensors"
    images = InputOverrides(img_size=32).changes()
    source = ModelSource(name="test_resnet", from_scratch=True, input=images)
    head = HeadSpec(head="isqrt", dim=8)
    convert(
        ConversionRequest(
            source=source, operations=(head,), calibrate_with=data, output=file, workers=0
        )
    )
    return file


def test_a_calibrated_head_gets_a_rate_that_leaves_what_it_knows(asked, calibrated):
    settings = {"model": str(calibrated), "from_scratch": False, "epochs": 3}
    result = finetune(asked(lr="auto", **settings))
    start = float(rows_in(result.directory / RATES)[0]["held_out_loss"])
    last = rows_in(result.directory / "summary.csv")[-1]
    assert float(last["eval_loss"]) < start + 0.1
    assert float(last["eval_top1"]) == 100


def test_points_rule_and_rate_are_told(asked):
    observer = Recorder()
    result = finetune(asked(lr="auto"), observer=observer)
    saved = arguments(result)
    (note,) = (text for text in observer.notes if "Range test of" in text)
    assert f"the learning rate is {saved['lr']:g}, {saved['lr_rule']}" in note
    rates = observer.plans[0].rates
    assert rates.choice.lr == saved["lr"] == observer.plans[0].groups[0].lr
    rows = rows_in(result.directory / RATES)
    assert [float(row["lr"]) for row in rows] == [point.lr for point in rates.points]


def test_a_resumed_run_keeps_its_rate_and_does_not_search(asked, monkeypatch):
    directory = cut_short(asked(lr="auto"), at_update=7)
    lr = yaml.safe_load((directory / ARGUMENTS).read_text())["lr"]
    points = (directory / RATES).read_bytes()
    import covtool.training.start.find_rate as module

    monkeypatch.setattr(module, "run_ramp", None)  # would fail
    observer = Recorder()
    result = resume_finetune(directory, changes={"lr": "auto"}, observer=observer)
    saved = arguments(result)
    assert (saved["lr"], "lr_rule" in saved) == (lr, True)
    assert (directory / RATES).read_bytes() == points
    assert not any("default" in note or "Range test" in note for note in observer.notes)
    with pytest.raises(ArgumentError, match=r"--lr is 0\.5 now"):
        resume_finetune(directory, changes={"lr": 0.5})


def test_a_run_with_a_given_rate_is_not_resumed_with_a_search(asked):
    result = finetune(asked(lr=0.01, epochs=1))
    with pytest.raises(
        ArgumentError, match=r"--lr is auto now, but the run was started with 0\.01"
    ):
        resume_finetune(result.directory, changes={"lr": "auto"})
    file = result.directory / ARGUMENTS
    file.write_text(file.read_text().replace("lr: 0.01\n", "lr: auto\n"))
    with pytest.raises(ArgumentError, match="not a number") as refused:
        resume_finetune(result.directory)
    assert "bring it back" in refused.value.hint


def test_the_test_alone_writes_its_points_and_trains_nothing(asked, tmp_path):
    found = find_learning_rate(asked(lr=0.3))
    assert found.directory == tmp_path / "runs/find-lr/test_resnet"
    assert [path.name for path in found.directory.iterdir()] == [RATES]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["find-lr"]
    run = finetune(asked(lr="auto"))
    assert arguments(run)["lr"] == found.lr
    assert (run.directory / RATES).read_bytes() == (found.directory / RATES).read_bytes()


def test_where_no_rate_is_found_nothing_is_left_of_the_run(asked, tmp_path):
    request = asked(lr="auto", warmup_lr=100.0)
    with pytest.raises(RangeTestError, match="lowest rate of the test") as refused:
        finetune(request)
    assert "--lr" in refused.value.hint
    assert not list((tmp_path / "runs/finetune").glob("*"))
    with pytest.raises(RangeTestError) as refused:
        find_learning_rate(request)
    assert str(tmp_path / "runs/find-lr/test_resnet") in refused.value.hint
    assert (tmp_path / "runs/find-lr/test_resnet" / RATES).exists()


def test_a_dry_run_and_losses_without_a_classifier_are_refused(asked):
    with pytest.raises(ArgumentError, match="--dry-run for one"):
        plan_finetune(asked(lr="auto"))
    triplet = {"loss": "triplet", "sampler": "pk", "batch_size": 8}
    for search in (
        lambda: finetune(asked(lr="auto", **triplet)),
        lambda: find_learning_rate(asked(**triplet)),
    ):
        with pytest.raises(ArgumentError, match="nothing to judge by"):
            search()


def test_too_few_validation_images_are_refused(tmp_path):
    from toy_data import write_toy_data

    few = write_toy_data(tmp_path / "few", train=6, val=1)
    with pytest.raises(DataError, match="3 validation images are too few"):
        finetune(make_request(few, tmp_path / "runs", lr="auto"))


def _auto(rank, request):
    observer = Recorder()
    result = finetune(request, observer=observer)
    last = torch.load(result.directory / "checkpoints/last.pt", weights_only=True)
    return arguments(result), last["model"], len(observer.plans)


def test_several_processes_take_one_decision(asked):
    settings = {"model": "test_convnext", "smoothing": 0, "epochs": 1, "opt": "adamw"}
    one = finetune(asked(lr="auto", batch_size=12, **settings))
    first, second = run_together(_auto, asked(lr="auto", batch_size=6, **settings))
    assert first[0] == second[0]
    assert first[0]["lr"] == arguments(one)["lr"]  # the same images an update
    assert all(torch.equal(tensor, second[1][name]) for name, tensor in first[1].items())
    assert (first[2], second[2]) == (1, 0)
