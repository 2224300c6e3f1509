import json
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from tolerances import EXACT
from toy_data import COLORS, write_toy_data
from training_runs import Recorder, assert_same_weights, power_cut, rows, weights

from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import (
    ArgumentError,
    DataError,
    InterruptedRunError,
    NonFiniteError,
)
from covtool.evaluation import evaluate_classification
from covtool.specs import AugmentationSpec, FinetuneRequest, HeadSpec, InputOverrides, ModelSource
from covtool.specs.first_version import read_line
from covtool.training import finetune, plan_finetune, resume_finetune


def test_a_separable_data_set_is_learned_and_everything_is_written(asked):
    observer = Recorder()
    result = finetune(asked(gc=True, epochs=6), observer=observer)
    assert observer.epochs[-1].train_loss < observer.epochs[0].train_loss
    assert result.best > 90
    written = {str(p.relative_to(result.directory)) for p in result.directory.rglob("*.*")}
    assert written == {
        *("args.yaml", "recipe.yaml", "env.json", "summary.csv", "metrics.jsonl", "result.json"),
        *("images.csv", "notes.jsonl"),
        *("checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt", ".lock"),
        f"checkpoints/epoch-{result.best_epoch}.pt",
        *("exported/best.safetensors", "exported/last.safetensors"),
    }
    assert result.directory.parent.name == "finetune"
    assert len(observer.steps) == 36
    assert json.loads((result.directory / "result.json").read_text())["best"] == result.best


def test_summary_and_metrics_have_a_row_for_each_epoch_and_update(asked):
    observer = Recorder()
    result = finetune(asked(), observer=observer)
    table = rows(result.directory)
    columns = ["epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr", "head"]
    assert list(table[0]) == columns
    assert [row["epoch"] for row in table] == ["0", "1"]
    assert [float(row["eval_top1"]) for row in table] == [r.top_1 for r in observer.epochs]
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(1, 13))
    # The epoch's loss is the mean over its images: here all updates have as many.
    losses = [r.loss for r in observer.steps if r.epoch == 1]
    assert float(table[0]["train_loss"]) == pytest.approx(sum(losses) / len(losses))


def test_the_exported_model_is_the_trained_one_with_its_history(asked, data):
    result = finetune(asked(gc=True))
    model = load(result.exported["last"])
    assert_same_weights(weights(result.directory / "checkpoints/last.pt"), model.state_dict())
    recipe = model.recipe
    assert recipe.class_names == COLORS
    assert recipe.input.size == (32, 32)
    assert recipe.provenance.data == data.name
    assert "gradient centralization on the gradient" in recipe.provenance.history[-1]
    # as a file of version 1, which has the line alone, is read
    assert read_line(recipe.provenance.history[-1]) == recipe.provenance.steps[-1]
    samples = scan(data).samples("val")
    measured = evaluate_classification(model, evaluation_loader(samples, recipe.input, workers=0))
    metric = recipe.provenance.metrics[0]
    assert (metric.name, metric.images, metric.data) == ("top_1", 18, f"{data.name} val")
    assert metric.value == measured.top_1


def test_args_yaml_is_complete_and_gives_the_same_run_again(asked):
    result = finetune(asked(gc=True, experiment="named"))
    assert result.directory.name == "named"
    arguments = yaml.safe_load((result.directory / "args.yaml").read_text())
    assert arguments["warmup_epochs"] == pytest.approx(0.2)
    again = finetune(FinetuneRequest.from_arguments(arguments))
    assert again.directory.name == "named-2"
    first, second = (weights(r.directory / "checkpoints/last.pt") for r in (result, again))
    assert_same_weights(first, second)


def test_freezing_the_backbone_leaves_its_weights_and_statistics_identical(asked):
    result = finetune(asked(freeze=("backbone",)))
    before = weights(result.directory / "checkpoints/last.pt")
    started = finetune(asked(freeze=("backbone",), epochs=1), observer=Recorder())
    other = weights(started.directory / "checkpoints/last.pt")
    changed = {n for n in before if not torch.equal(before[n], other[n])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("stats", "kept"), [("keep", True), ("train", False), ("auto", False)])
def test_batch_statistics_are_kept_where_that_is_asked_for(asked, stats, kept):
    one, two = (finetune(asked(bn_stats=stats, epochs=n)) for n in (1, 2))
    first, second = (weights(r.directory / "checkpoints/last.pt") for r in (one, two))
    assert torch.equal(first["bn1.running_mean"], second["bn1.running_mean"]) == kept
    assert not torch.equal(first["bn1.weight"], second["bn1.weight"])


def test_a_trained_model_keeps_its_batch_statistics_by_default(asked):
    first = finetune(asked(epochs=1))
    model = str(first.exported["last"])
    again = finetune(asked(model=model, epochs=1, from_scratch=False, images=InputOverrides()))
    before, after = load(model).state_dict(), load(again.exported["last"]).state_dict()
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert not torch.equal(before["bn1.weight"], after["bn1.weight"])


def test_a_run_that_was_killed_after_an_epoch_goes_on_exactly(asked):
    settings = {"epochs": 3, "gc": True, "mixup": 0.2, "model_ema": True, "head_lr_mult": 5}
    whole, cut, rest = Recorder(), Recorder(at_update=9, do=power_cut), Recorder()
    expected = finetune(asked(**settings), observer=whole)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(**settings), observer=cut)
    directory = cut.plans[0].directory
    result = resume_finetune(directory, observer=rest)
    assert rest.plans[0].first_epoch == 2
    assert [r.lr for r in rest.steps] == [r.lr for r in whole.steps[6:]]
    assert [r.loss for r in rest.steps] == [r.loss for r in whole.steps[6:]]
    states = [
        torch.load(d / "checkpoints/last.pt", weights_only=True)
        for d in (expected.directory, result.directory)
    ]
    for part in ("model", "model_ema"):
        assert_same_weights(states[0][part], states[1][part])
    groups = [[(g["lr"], g["lr_scale"]) for g in s["optimizer"]["param_groups"]] for s in states]
    assert groups[0] == groups[1]
    assert [r["epoch"] for r in rows(directory)] == ["0", "1", "2"]
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(1, 19))


def test_the_heads_rate_is_its_multiple_right_after_resuming(asked):
    cut = Recorder(at_epoch=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(epochs=2, head_lr_mult=5), observer=cut)
    directory = cut.plans[0].directory
    saved = torch.load(directory / "checkpoints/last.pt", weights_only=True)
    rest = Recorder(at_update=7, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        resume_finetune(directory, observer=rest)
    for group in saved["optimizer"]["param_groups"]:
        assert group["lr"] == pytest.approx(rest.steps[0].lr * group["lr_scale"])
    assert {g["lr_scale"] for g in saved["optimizer"]["param_groups"]} == {1.0, 5.0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_an_epoch_saves_a_state_that_goes_on_exactly(asked, number):
    whole, rest = Recorder(), Recorder()
    cut = Recorder(at_update=8, do=lambda: signal.raise_signal(number))
    expected = finetune(asked(grad_accum_steps=1), observer=whole)
    with pytest.raises(InterruptedRunError, match="after step 8; the state was saved") as caught:
        finetune(asked(), observer=cut)
    assert caught.value.signal_number == number
    directory = cut.plans[0].directory
    assert str(directory) in caught.value.hint
    assert load(directory / "exported/last.safetensors").recipe.provenance.metrics == ()
    result = resume_finetune(directory, observer=rest)
    assert [r.loss for r in rest.steps] == [r.loss for r in whole.steps[8:]]
    assert rest.epochs[-1].train_loss == pytest.approx(whole.epochs[-1].train_loss, rel=1e-12)
    first, second = (weights(r.directory / "checkpoints/last.pt") for r in (expected, result))
    assert_same_weights(first, second)


def test_a_signal_during_evaluation_is_resumed_with_the_evaluation(asked):
    class Stopper(Recorder):
        def track(self, iterable, description, total):
            for item in iterable:
                if description == "evaluating" and len(self.steps) == 12:
                    signal.raise_signal(signal.SIGINT)
                yield item

    cut, rest = Stopper(), Recorder()
    with pytest.raises(InterruptedRunError, match="after step 12"):
        finetune(asked(), observer=cut)
    result = resume_finetune(cut.plans[0].directory, observer=rest)
    assert rest.steps == []
    assert result.epochs == 2


def test_a_signal_after_the_last_epoch_leaves_what_was_measured_in_the_last_model(asked):
    cut = Recorder(at_epoch=2, do=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedRunError, match="after step 12"):
        finetune(asked(), observer=cut)
    last = load(cut.plans[0].directory / "exported/last.safetensors")
    measured = {metric.name: metric.value for metric in last.recipe.provenance.metrics}
    assert measured["top_1"] == cut.epochs[-1].top_1


def test_a_diverging_run_stops_and_keeps_its_last_good_state(asked):
    observer = Recorder()
    with pytest.raises(NonFiniteError, match=r"at step \d+\.") as caught:
        finetune(asked(lr=1e30, sched="constant", warmup_epochs=0), observer=observer)
    assert "layer with a non-finite output" in caught.value.reason
    last = observer.plans[0].directory / "checkpoints/last.pt"
    assert str(last) in caught.value.hint
    assert all(t.isfinite().all() for t in weights(last).values())


def test_a_weight_poisoned_in_the_second_epoch_leaves_the_first_ones_state(asked, monkeypatch):
    from covtool.training.start import prepare

    models = []
    original = prepare.assemble

    def assemble(model, *rest):
        models.append(model)
        return original(model, *rest)

    def poison():
        models[0].layer3[0].conv1.weight.data[0] = torch.nan

    monkeypatch.setattr(prepare, "assemble", assemble)
    observer = Recorder(at_update=8, do=poison)
    with pytest.raises(NonFiniteError, match="The loss is nan at step 9") as caught:
        finetune(asked(), observer=observer)
    assert "'layer3.0.conv1'" in caught.value.reason
    assert "its weight is not finite" in caught.value.reason
    state = torch.load(observer.plans[0].directory / "checkpoints/last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert (observer.plans[0].directory / "exported/best.safetensors").exists()


def test_a_model_that_is_not_finite_after_an_epochs_last_update_is_not_saved(asked, monkeypatch):
    from covtool.training.start import prepare

    models = []
    original = prepare.assemble
    monkeypatch.setattr(
        prepare, "assemble", lambda m, *rest: original(models.append(m) or m, *rest)
    )
    observer = Recorder(at_update=12, do=lambda: models[0].fc.bias.data.fill_(torch.inf))
    with pytest.raises(NonFiniteError, match="After step 12 the model is not finite") as caught:
        finetune(asked(), observer=observer)
    assert "'fc.bias'" in caught.value.reason


def test_a_dry_run_writes_nothing_and_says_what_would_be_trained(asked, tmp_path):
    result = plan_finetune(asked(lr=0.02, head_lr_mult=4, grad_accum_steps=2))
    assert not (tmp_path / "runs").exists()
    assert {g.part: g.lr for g in result.groups} == {"backbone": 0.02, "head": 0.08}
    assert result.plan.updates_per_epoch == 3
    assert result.loss == pytest.approx(torch.tensor(3.0).log().item(), abs=0.5)
    assert result.peak_memory_mib > 1


def test_accumulated_batches_are_one_update_with_the_mean_gradient(asked):
    augmentation = AugmentationSpec(aug=False)
    # No batch normalization in the way: its statistics are those of a batch.
    common = {"model": "test_convnext", "augmentation": augmentation, "opt": "momentum"}
    whole, halves = Recorder(), Recorder()
    finetune(asked(batch_size=12, epochs=1, warmup_epochs=0, **common), observer=whole)
    finetune(
        asked(batch_size=6, grad_accum_steps=2, epochs=1, warmup_epochs=0, **common),
        observer=halves,
    )
    assert len(whole.steps) == len(halves.steps) == 3
    for one, other in zip(whole.steps, halves.steps, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)


def test_the_gradient_is_clipped(asked):
    observer = Recorder()
    finetune(asked(clip_grad=1e-9, opt="momentum", weight_decay=0), observer=observer)
    assert max(r.grad_norm for r in observer.steps) > 1e-3
    losses = [r.train_loss for r in observer.epochs]
    assert losses[0] == pytest.approx(losses[1], abs=0.2)  # it hardly moves


def test_with_gc_the_sums_of_rows_never_change(asked):
    kept = []

    class Watcher(Recorder):
        def on_epoch(self, record):
            kept.append(weights(self.plans[0].directory / "checkpoints/last.pt"))

    finetune(asked(gc=True, weight_decay=0.01), observer=Watcher())
    for name in ("layer2.0.conv1.weight", "fc.weight"):
        first, second = (w[name].double().flatten(1).sum(1) for w in kept)
        torch.testing.assert_close(first, second, atol=1e-4, rtol=0)
        assert not torch.equal(kept[0][name], kept[1][name])


def test_the_moving_average_is_what_is_exported(asked):
    result = finetune(asked(model_ema=True, model_ema_decay=0.9))
    state = torch.load(result.directory / "checkpoints/last.pt", weights_only=True)
    assert_same_weights(state["model_ema"], load(result.exported["last"]).state_dict())
    assert not torch.equal(state["model_ema"]["fc.weight"], state["model"]["fc.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        {"amp": True, "amp_dtype": "bfloat16"},
        {"amp": True, "amp_dtype": "float16"},
        {"channels_last": True},
    ],
)
def test_lower_precision_and_channels_last_train(asked, settings):
    result = finetune(asked(**settings))
    model = load(result.exported["best"])
    assert model.conv1[0].weight.dtype == torch.float32


def test_only_the_best_epochs_checkpoints_are_kept(asked):
    observer = Recorder()
    result = finetune(asked(epochs=4, checkpoint_hist=2, eval_metric="loss"), observer=observer)
    losses = [r.eval_loss for r in observer.epochs]
    best = sorted(range(4), key=lambda e: losses[e])[:2]
    kept = {p.stem for p in (result.directory / "checkpoints").glob("epoch-*")}
    assert kept == {f"epoch-{e + 1}" for e in best}
    assert result.best == min(losses)
    assert result.best_epoch == best[0] + 1


def test_a_fresh_classifier_is_noted(asked):
    observer = Recorder()
    finetune(asked(epochs=1), observer=observer)
    fresh = "The classifier (1000 outputs without names) starts afresh, for 3 classes."
    assert fresh in observer.notes


def test_a_model_with_other_classes_is_refused_until_it_is_said(asked, tmp_path):
    two = write_toy_data(tmp_path / "two", colors=("blue", "red"))
    first = finetune(asked(data=str(two), epochs=1))
    model = str(first.exported["best"])
    with pytest.raises(DataError, match="has 2 classes, the data set 3") as caught:
        finetune(asked(model=model, epochs=1))
    assert caught.value.reason == "Model: blue, red. Data: blue, green, red."
    assert "--new-classifier" in caught.value.hint
    again = finetune(asked(model=model, epochs=1, new_classifier=True))
    recipe = load(again.exported["last"]).recipe
    assert recipe.class_names == COLORS
    assert len(recipe.provenance.history) == 2


def test_a_model_with_the_same_classes_keeps_its_classifier(asked):
    first = finetune(asked())
    observer = Recorder()
    images = InputOverrides()
    settings = {"lr": 1e-12, "warmup_lr": 0, "epochs": 1, "freeze": ("backbone",)}
    finetune(asked(model=str(first.exported["last"]), images=images, **settings), observer=observer)
    assert observer.epochs[0].top_1 == first.last
    assert not any("afresh" in note for note in observer.notes)


def test_unreadable_images_are_an_error_or_are_left_out_and_listed(asked, tmp_path):
    root = write_toy_data(tmp_path / "broken")
    (root / "train/red/0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 36 images cannot be read"):
        finetune(asked(data=str(root), epochs=1))
    observer = Recorder()
    finetune(asked(data=str(root), epochs=1, on_bad_image="skip"), observer=observer)
    assert observer.plans[0].training_images == 35
    assert any("Left out 1 unreadable" in n and "0.png" in n for n in observer.notes)


def test_val_fraction_sets_images_aside(asked, data):
    observer = Recorder()
    finetune(asked(data=str(data / "train"), val_fraction=0.25, epochs=1), observer=observer)
    assert observer.plans[0].training_images == 27
    assert observer.plans[0].validation_images == 9


def test_a_converted_model_trains_its_new_head_and_is_still_the_converted_model(asked, tmp_path):
    converted = convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
            operations=[HeadSpec(dim=4)],
            output=tmp_path / "isqrt.safetensors",
        )
    )
    observer = Recorder()
    asking = asked(model=str(converted.path), freeze=("backbone",), gc=True, epochs=1)
    result = finetune(asking, observer=observer)
    assert result.directory.name == "isqrt"
    trained, before = load(result.exported["last"]), load(converted.path)
    assert trained.recipe.operations == before.recipe.operations
    names = {name for group in observer.plans[0].groups for name in group.names}
    assert any("reduc" in name for name in names)
    state = before.state_dict()
    for name, tensor in trained.state_dict().items():
        if name not in names and state[name].shape == tensor.shape and "reduc" not in name:
            torch.testing.assert_close(tensor, state[name], msg=name, **EXACT)


def test_a_size_that_the_model_cannot_take_is_refused(asked):
    images = InputOverrides(img_size=48)
    with pytest.raises(ArgumentError, match="does not take images of 48x48"):
        finetune(asked(model="swin_tiny_patch4_window7_224", images=images))


def test_a_changed_argument_is_refused_on_resuming_with_both_values(asked):
    cut = Recorder(at_epoch=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(), observer=cut)
    directory = cut.plans[0].directory
    with pytest.raises(ArgumentError, match=r"--lr is 0\.5 now.*started with 0\.0005"):
        resume_finetune(directory, changes={"lr": 0.5})
    observer = Recorder()
    result = resume_finetune(directory, changes={"lr": 5e-4, "epochs": 3}, observer=observer)
    assert result.epochs == 3
    changed, rate, *_ = observer.notes
    assert changed == "--epochs changes from 2 to 3."
    assert rate.startswith("The learning rate goes on at 0.000375")
    assert yaml.safe_load((directory / "args.yaml").read_text())["epochs"] == 3


def test_a_run_that_is_through_says_so_and_stays_as_it_is(asked):
    result = finetune(asked(epochs=1))
    before = {p: p.read_bytes() for p in result.directory.rglob("*.*") if p.is_file()}
    observer = Recorder()
    again = resume_finetune(result.directory, observer=observer)
    through = f"The run in {result.directory} is complete: 1 epoch."
    assert any(note.startswith(through) for note in observer.notes)
    assert again == result
    assert observer.steps == []
    after = {p: p.read_bytes() for p in result.directory.rglob("*.*") if p.is_file()}
    assert after == before
    assert resume_finetune(result.directory, changes={"epochs": 2}).epochs == 2


def test_resuming_needs_a_run(tmp_path):
    with pytest.raises(ArgumentError, match="is not a run that can be resumed"):
        resume_finetune(tmp_path)


def test_importing_the_specs_does_not_import_torch():
    code = "import sys, covtool.specs; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
