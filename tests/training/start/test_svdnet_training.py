"""SVDNet's phases as a run: what each of them trains, what is measured, what is left behind."""

import json

import pytest
import torch
import yaml
from svdnet_training import (
    GENTLE,
    GENTLE_EPOCHS,
    UPDATES_PER_EPOCH,
    svdnet_request,
    write_data,
)
from torch.testing import assert_close
from training_runs import Recorder, changed, power_cut, rows, weights

from covtool.checkpoints.model_file import load, save
from covtool.data.datasets.image_list import read_image_list
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.run_files import spectrum_rows
from covtool.specs import FinetuneRequest, RetrievalSpec
from covtool.specs.first_version import read_line
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training import finetune, plan_finetune
from covtool.training.parts import assembly
from covtool.training.parts.optimizer import build_optimizer
from covtool.training.parts.parameter_groups import optimizer_groups
from covtool.training.start import prepare

PHASES = ["start", *["base"] * 2]
for iteration in (1, 2):
    PHASES += [f"restraint {iteration}", *[f"relaxation {iteration}"] * 2]
ENDS = [0, 2, 3, 5, 6, 8]  # rows of summary.csv that are the last of their phase
EIGENLAYER = "fc.eigenlayer.weight"


@pytest.fixture
def asked(people, eigen_model, tmp_path):
    def request(**settings):
        given = {
            "data": people,
            "model": eigen_model,
            "output": tmp_path / "runs",
            **GENTLE,
            **settings,
        }
        return svdnet_request(**given)

    return request


@pytest.fixture(scope="module")
def done(people, eigen_model, tmp_path_factory):
    """A finished run, and who watched it."""
    observer = Recorder()
    output = tmp_path_factory.mktemp("runs")
    request = svdnet_request(eigen_model, people, output, **GENTLE, checkpoint_hist=9)
    return finetune(request, observer=observer), observer


def searched(source, data, **spec):
    return retrieve(
        RetrievalRequest(source=str(source), data=data, workers=0, spec=RetrievalSpec(**spec))
    ).result


def test_the_phases_follow_each_other_and_each_is_searched_at_its_end(done):
    result, observer = done
    assert result.directory.parent.name == "svdnet-rri"
    assert result.epochs == GENTLE_EPOCHS
    table = rows(result.directory)
    assert [row["phase"] for row in table] == PHASES
    assert [int(row["epoch"]) for row in table] == list(range(-1, GENTLE_EPOCHS))
    assert [n for n, row in enumerate(table) if row["eval_rank1"]] == ENDS
    assert [n for n, row in enumerate(table) if row["eval_mAP"]] == ENDS
    assert table[0]["train_loss"] == table[0]["lr"] == ""
    assert all(float(row["train_loss"]) > 0 for row in table[1:])
    assert [record.phase.name for record in observer.epochs] == PHASES
    assert [len(p.phases) for p in observer.plans] == [5]


def test_s_of_w_is_one_in_restraints_and_less_where_the_eigenlayer_is_trained(done):
    result, _ = done
    for row in rows(result.directory):
        restrained = row["phase"].startswith("restraint")
        correlation = float(row["correlation"])
        assert (correlation > 1 - 1e-6) == restrained, row["phase"]
        ratio = float(row["smallest_eigenvalue_ratio"])
        assert ratio > 1 - 1e-6 if restrained else ratio < 1
        assert ratio < 0.999 if row["phase"] in ("start", "base") else ratio > 0.999
    exported = eigen_classifier(load(result.exported["last"])).eigenlayer
    assert exported.correlation == float(row["correlation"])


def test_singular_values_are_kept_after_each_half_step(done, eigen_model):
    result, _ = done
    spectra = list(spectrum_rows(result.directory))
    assert [row.phase for row in spectra] == [PHASES[end] for end in ENDS]
    assert [row.epoch for row in spectra] == ENDS
    for row, model in ((spectra[0], eigen_model), (spectra[-1], result.exported["last"])):
        weight = eigen_classifier(load(model)).eigenlayer.weight.detach().double()
        gram = torch.linalg.eigvalsh(weight @ weight.T)  # another way to the same values
        expected = gram.clamp(min=0).sqrt().flip(0)
        assert_close(torch.tensor(row.values), expected.float(), rtol=1e-4, atol=1e-6)


def test_a_restraint_leaves_the_eigenlayer_alone_and_trains_the_rest(done):
    result, _ = done

    def after(epochs):
        return weights(result.directory / f"checkpoints/epoch-{epochs}.pt")

    assert EIGENLAYER in changed(after(2), after(5))
    restrained, relaxed = after(6), after(8)
    gram = restrained[EIGENLAYER] @ restrained[EIGENLAYER].T
    torch.testing.assert_close(gram, gram.diagonal().diag(), atol=1e-5, rtol=0)
    assert EIGENLAYER in changed(restrained, relaxed)
    assert len(changed(after(5), restrained)) > 10


def test_the_eigenlayer_does_not_move_within_a_restraint(asked):
    once = finetune(asked(rri=1, restraint_epochs=2, checkpoint_hist=9))
    more = finetune(asked(rri=1, restraint_epochs=1, checkpoint_hist=9))
    short = weights(more.directory / "checkpoints/epoch-3.pt")
    long = weights(once.directory / "checkpoints/epoch-4.pt")
    assert torch.equal(short[EIGENLAYER], long[EIGENLAYER])
    assert len(changed(short, long)) > 10


def test_the_figures_are_those_of_a_search_with_the_exported_file(done, eigen_model, people):
    result, _ = done
    table = rows(result.directory)
    for source, row in ((eigen_model, table[0]), (result.exported["last"], table[-1])):
        found = searched(source, people)
        assert float(row["eval_rank1"]) == pytest.approx(found.rank_1)
        assert float(row["eval_rank5"]) == pytest.approx(found.cmc[5])
        assert float(row["eval_mAP"]) == pytest.approx(found.mean_average_precision)
        assert float(row["eval_mINP"]) == pytest.approx(found.mean_inverse_penalty)
        assert float(row["eval_r_precision"]) == pytest.approx(found.r_precision)
        assert float(row["eval_mAP_at_R"]) == pytest.approx(found.map_at_r)


def test_the_best_phase_is_kept_by_the_metric_that_is_asked_for(asked):
    for metric, column in (("rank1", "eval_rank1"), ("mAP", "eval_mAP")):
        result = finetune(asked(eval_metric=metric))
        values = {n: float(r[column]) for n, r in enumerate(rows(result.directory)) if r[column]}
        del values[0]  # the start is no epoch
        assert result.best == max(values.values())
        assert values[result.best_epoch] == result.best
        assert result.last == values[GENTLE_EPOCHS]
        metrics = {m.name: m for m in load(result.exported["best"]).recipe.provenance.metrics}
        name = "rank_1" if metric == "rank1" else "mean_average_precision"
        assert (metrics[name].value, metrics[name].images) == (result.best, 12)
        assert metrics[name].data == "people.csv test"


def test_history_result_and_arguments_say_what_was_done(done):
    result, _ = done
    last = load(result.exported["last"]).recipe
    assert last.provenance.history[-1] == (
        "svdnet-rri on people.csv: epoch 8 of 8, relaxation 2, sgd, lr 0.02, then 0.01"
    )
    assert last.class_names == ("ann", "bob", "cleo", "dan")
    assert json.loads((result.directory / "result.json").read_text())["metric"] == "rank1"
    arguments = yaml.safe_load((result.directory / "args.yaml").read_text())
    assert (arguments["rri"], arguments["base_epochs"], arguments["epochs"]) == (
        2,
        2,
        GENTLE_EPOCHS,
    )
    request = FinetuneRequest.from_arguments(arguments)
    assert request.command == "svdnet-rri"
    assert request.to_arguments() == arguments


def test_the_images_of_a_run_are_a_list_that_can_be_searched_in(done, people):
    result, _ = done
    layout, left_out = read_image_list(result.directory / "images.csv", people)
    assert left_out == frozenset()
    assert len(layout.samples("train")) == 24
    assert layout.searched.shared
    assert [s.identity for s in layout.searched.query[:5]] == ["eve"] * 4 + ["finn"]


def test_each_phase_has_its_rate_and_ends_low(done):
    _, observer = done
    assert len(observer.steps) == UPDATES_PER_EPOCH * GENTLE_EPOCHS
    rates = [step.lr for step in observer.steps]
    base, rest = rates[: 2 * UPDATES_PER_EPOCH], rates[2 * UPDATES_PER_EPOCH :]
    assert 0.015 < max(base) <= 0.02
    assert max(rest) == pytest.approx(0.01)
    begins = [
        2 * UPDATES_PER_EPOCH,
        3 * UPDATES_PER_EPOCH,
        5 * UPDATES_PER_EPOCH,
        6 * UPDATES_PER_EPOCH,
    ]
    assert all(rates[begin] == pytest.approx(0.01) for begin in begins)
    assert all(rates[begin - 1] < 0.005 for begin in begins)
    ends = [float(row["lr"]) for row in rows(done[0].directory)[1:]]
    assert [ends[n - 1] for n in ENDS[1:]] == [pytest.approx(0, abs=1e-12)] * 5
    assert ends[0] == pytest.approx(0.01)  # half of a cosine from 0.02


def test_step_0_is_left_out_for_a_model_that_was_trained_with_its_eigenlayer(asked, done, tmp_path):
    result, _ = done
    trained = asked(model=result.exported["last"], base_epochs=None)
    observer = Recorder()
    plan = plan_finetune(trained, observer=observer).plan
    assert plan.phases[0].label == "restraint 1"
    assert plan.epochs == 2 * 3
    assert plan_finetune(asked(base_epochs=None)).plan.phases[0].epochs == 20
    put_in = "convert {}: eigenlayer of 8"
    for history, base in (
        ((), "base"),
        (("finetune on cars: epoch 1",), "restraint 1"),
        (("finetune on cars: epoch 1", put_in), "base"),
        ((put_in, "finetune on cars: epoch 1"), "restraint 1"),
    ):
        other = load(result.exported["last"])
        provenance = other.recipe.provenance.model_copy(
            update={"steps": tuple(map(read_line, history))}
        )
        other.recipe = other.recipe.model_copy(update={"provenance": provenance})
        path = save(other, tmp_path / "other.safetensors", overwrite=True)
        assert plan_finetune(asked(model=path, base_epochs=None)).plan.phases[0].label == base
    afresh = asked(model=result.exported["last"], base_epochs=None, new_classifier=True)
    assert plan_finetune(afresh).plan.phases[0].label == "base"
    said = plan_finetune(asked(model=result.exported["last"], base_epochs=1)).plan
    assert said.phases[0].label == "base"
    again = finetune(trained)
    assert rows(again.directory)[1]["phase"] == "restraint 1"
    assert rows(again.directory)[0]["eval_mAP"] == rows(result.directory)[-1]["eval_mAP"]


def test_the_moving_average_is_what_is_searched_and_starts_anew_at_a_restraint(asked, people):
    result = finetune(asked(model_ema=True, model_ema_decay=0.9, rri=1))
    row = rows(result.directory)[-1]
    found = searched(result.exported["last"], people)
    assert float(row["eval_mAP"]) == pytest.approx(found.mean_average_precision)
    exported = eigen_classifier(load(result.exported["last"])).eigenlayer
    assert exported.correlation == float(row["correlation"])


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lookahead_sgd", "adagrad"])
def test_an_optimizer_forgets_all_that_it_has_gathered_when_a_phase_begins(asked, opt, monkeypatch):
    """What it does first in a restraint is what a new one would do."""
    parts = []

    class Watcher(Recorder):
        def on_epoch(self, record):
            super().on_epoch(record)
            if record.epoch == 2:
                part = parts[-1]
                part.enter_epoch_(2)
                lr = [group["lr"] for group in part.optimizer.param_groups]
                fresh = build_optimizer(
                    optimizer_groups(part.model, part.groups, part.training.lr), part.training
                )
                own, new = part.optimizer.state_dict(), fresh.state_dict()
                assert own["state"].keys() == new["state"].keys()
                for group, other in zip(own["param_groups"], new["param_groups"], strict=True):
                    assert {**group, "lr": 0} == {**other, "lr": 0}
                assert lr == [group["lr"] for group in part.optimizer.param_groups]
                power_cut()  # what comes after is no matter

    def remember(*arguments):
        parts.append(assembly.assemble(*arguments))
        return parts[-1]

    monkeypatch.setattr(prepare, "assemble", remember)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(opt=opt, rri=1), observer=Watcher())


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "ce+triplet", "sampler": "pk", "num_instances": 3, "cache": "ram"},
        {"loss": "triplet", "sampler": "pk", "num_instances": 3},
        {"gc": True, "opt": "adamw", "amp": True, "amp_dtype": "bfloat16"},
        {"decomposition": "qr", "classifier": "reset", "reorder": False, "head_lr_mult": 1.0},
        {"assignment": "optimal", "classifier": "keep", "grad_accum_steps": 2, "bn_stats": "train"},
    ],
    ids=str,
)
def test_the_options_of_finetune_hold(asked, settings):
    result = finetune(asked(**settings, rri=1))
    table = rows(result.directory)
    assert [row["phase"] for row in table] == PHASES[:6]
    assert float(table[3]["correlation"]) == pytest.approx(1, abs=1e-6)
    assert float(table[-1]["correlation"]) < 1 - 1e-5


def test_a_cache_is_searched_as_files_are(asked):
    runs = [finetune(asked(cache=cache, rri=0)) for cache in ("off", "ram")]
    start = [rows(run.directory)[0] for run in runs]
    assert start[0] == start[1]


def test_cameras_and_features_are_those_that_are_asked_for(eigen_model, tmp_path):
    data = write_data(tmp_path / "watched", query=True)
    for spec in ({}, {"cameras": False}, {"feature": "pooled", "metric": "euclidean"}):
        request = svdnet_request(
            eigen_model, data, tmp_path / "runs", **{**GENTLE, "rri": 0}, **spec
        )
        row = rows(finetune(request).directory)[0]
        found = searched(eigen_model, data, **spec)
        assert float(row["eval_mAP"]) == pytest.approx(found.mean_average_precision)
        assert float(row["eval_rank1"]) == pytest.approx(found.rank_1)


def test_the_same_seed_gives_the_same_run_and_a_report_comes_first(asked):
    class Watcher(Recorder):
        reports = ()

        def on_report(self, report):
            assert self.plans == []
            self.reports = (*self.reports, report)

    watchers = [Watcher(), Watcher()]
    first, second = (finetune(asked(rri=1), observer=watcher) for watcher in watchers)
    assert rows(first.directory) == rows(second.directory)
    (report,) = watchers[0].reports
    assert [(s.name, s.images, s.identities) for s in report.subsets] == [
        ("train", 24, 4),
        ("test", 12, 3),
    ]


def test_unreadable_images_are_left_out_of_the_search(asked, tmp_path):
    data = write_data(tmp_path / "people")
    (tmp_path / "people/eve/1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"eve.1\.png"):
        finetune(asked(data=data))
    assert not (tmp_path / "runs").exists()
    result = finetune(asked(data=data, on_bad_image="skip", rri=0))
    metrics = load(result.exported["last"]).recipe.provenance.metrics
    assert {m.images for m in metrics} == {11}
    for number in (0, 2, 3):
        (tmp_path / f"people/eve/{number}.png").write_bytes(b"no image")
    left = finetune(asked(data=data, on_bad_image="skip", rri=0))
    assert {m.images for m in load(left.exported["last"]).recipe.provenance.metrics} == {8}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "test_resnet", "from_scratch": True}, "has no Eigenlayer"),
        ({"freeze": ["*eigenlayer*"]}, "--freeze holds the Eigenlayer"),
        ({"freeze": ["backbone"], "loss": "triplet"}, "Nothing is left to train in restraint 1"),
        ({"warmup_epochs": 2.0}, "leaves nothing of the first phase's 2 epochs"),
        ({"min_lr": 0.015}, "--lrs has 0.01, which is below --min-lr"),
        ({"warmup_epochs": 0.5, "warmup_lr": 0.011, "base_epochs": 0}, "below --warmup-lr"),
        ({"freeze": ["layer1.*@8"]}, "is all of --epochs 8"),
        ({"max_memory": "1kB"}, "The search needs"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(
    asked, tmp_path, settings, message
):
    with pytest.raises(ArgumentError, match=message):
        finetune(asked(**settings))
    assert not (tmp_path / "runs").exists()


def test_a_restraint_may_hold_what_base_and_relaxation_train(asked):
    result = finetune(asked(freeze=["*eigenlayer*@3"], rri=1))
    assert [row["phase"] for row in rows(result.directory)][-1] == "relaxation 1"
