from dataclasses import replace

import pytest
import torch
from families import family
from torch import nn

from covtool.errors import ArgumentError
from covtool.specs import EigenlayerSpec, SvdnetSpec, TrainingSpec
from covtool.surgery import apply_eigenlayer, plan_eigenlayer
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training.parts.freezing import plan_freezing
from covtool.training.parts.head import find_head
from covtool.training.parts.restraint_relaxation import RestraintRelaxation, plan_phases
from covtool.training.parts.schedule import PhaseRates, Schedule

SHORT = SvdnetSpec(rri=4, restraint_epochs=2, relaxation_epochs=3, lrs=(0.1, 0.1, 0.01))


def plan(spec=SHORT, base_epochs=2, base_lr=0.5):
    phases = plan_phases(spec, base_epochs=base_epochs, base_lr=base_lr)
    return RestraintRelaxation(spec=spec, phases=phases, eigenlayer="fc.eigenlayer")


@pytest.fixture
def eigen():
    model, images = family("test_resnet")
    torch.manual_seed(0)
    spec = EigenlayerSpec(features=8, init="random")
    changed = apply_eigenlayer(model, plan_eigenlayer(model, spec, images))
    return changed, images


def test_the_defaults_are_the_published_ones():
    spec = SvdnetSpec()
    assert [spec.lr_of(n) for n in range(1, spec.rri + 1)] == [1e-3] * 3 + [1e-4] * 4
    assert (spec.decomposition, spec.classifier, spec.rri) == ("us", "fold", 7)


def test_every_epoch_is_in_one_phase_and_they_alternate():
    run = plan()
    assert run.epochs == 2 + 4 * 5
    labels = [run.at(epoch).label for epoch in range(run.epochs)]
    assert labels[:9] == [
        *["base"] * 2,
        *["restraint 1"] * 2,
        *["relaxation 1"] * 3,
        *["restraint 2"] * 2,
    ]
    begun = [run.begins(epoch).label for epoch in range(run.epochs) if run.begins(epoch)]
    assert begun == [phase.label for phase in run.phases]
    ended = [run.ended(done).label for done in range(1, run.epochs + 1) if run.ended(done)]
    assert ended == begun
    assert [run.at(e).lr for e in (0, 2, 7, 12, 21)] == [0.5, 0.1, 0.1, 0.01, 0.01]


def test_without_step_0_the_first_restraint_begins_at_once():
    run = plan(base_epochs=0)
    assert run.begins(0).label == "restraint 1"
    assert plan(SvdnetSpec(rri=0), base_epochs=3).epochs == 3


def test_each_phase_has_a_schedule_of_its_own():
    training = TrainingSpec(epochs=99, lr=0.5, sched="cosine", warmup_epochs=0.5)
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    groups = [
        {"params": [w], "lr": 0.5, "lr_scale": s} for w, s in zip(weights, (1, 5), strict=True)
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    run = plan()
    schedule = Schedule(optimizer, training, run.phases, updates_per_epoch=4)
    for phase in run.phases:
        warmup = 0.5 if phase.start == 0 else 0.0
        settings = {"lr": phase.lr, "epochs": phase.epochs, "warmup_epochs": warmup}
        alone = PhaseRates(training.model_copy(update=settings), updates_per_epoch=4)
        for update in range(4 * phase.epochs):
            schedule.set_updates(4 * phase.start + update)
            assert schedule.lr == alone.at(update)
            rates = [group["lr"] for group in optimizer.param_groups]
            assert rates[1] == pytest.approx(5 * rates[0])


def test_the_eigenlayer_is_frozen_in_restraints_only(eigen):
    model, images = eigen
    others = plan_freezing(model, find_head(model, images), ())
    freezing = replace(others, holds=plan().holds)
    held = [e for e in range(22) if "fc.eigenlayer.weight" not in freezing.at(e)]
    assert held == [2, 3, 7, 8, 12, 13, 17, 18]
    assert freezing.trained == others.trained
    assert freezing.at(2) == others.at(2) - {"fc.eigenlayer.weight"}


@pytest.mark.parametrize("classifier", ["fold", "keep", "reset"])
def test_a_restraint_begins_with_orthogonal_vectors_and_an_optimizer_without_a_past(
    eigen, classifier
):
    model, images = eigen
    average, _ = family("test_resnet")
    average = apply_eigenlayer(
        average, plan_eigenlayer(average, EigenlayerSpec(features=8, init="random"), images)
    )
    run = plan(SHORT.model_copy(update={"classifier": classifier}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    forget = optimizer.state.clear
    batch = torch.randn(2, 3, *images.size, generator=torch.Generator().manual_seed(0))
    model.eval()
    before = model(batch)
    weight = eigen_classifier(model).classifier.weight.detach().clone()
    optimizer.state[next(model.parameters())]["momentum_buffer"] = torch.ones(1)
    run.enter_([model, average], 1, forget=forget, seed=0)
    assert optimizer.state
    assert torch.equal(model(batch), before)
    run.enter_([model, average], 2, forget=forget, seed=0)
    assert not optimizer.state
    both = eigen_classifier(model)
    assert both.eigenlayer.correlation == pytest.approx(1, abs=1e-6)
    kept = torch.allclose(model(batch), before, atol=1e-4)
    assert kept == (classifier == "fold")
    assert torch.equal(both.classifier.weight, weight) == (classifier == "keep")
    for name, tensor in average.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    optimizer.state[next(model.parameters())]["momentum_buffer"] = torch.ones(1)
    decorrelated = both.eigenlayer.weight.clone()
    run.enter_([model], 4, forget=forget, seed=0)
    assert not optimizer.state
    assert torch.equal(both.eigenlayer.weight, decorrelated)


def test_it_settles_when_two_relaxations_end_alike():
    run = plan(SHORT.model_copy(update={"stop_delta": 0.01}))
    correlations = [0.5, 0.5, 1, 1, 0.9, 0.9, 0.8]  # through relaxation 1
    assert not run.has_settled(correlations)
    correlations += [1, 1, 0.8, 0.8]
    assert not run.has_settled(correlations)
    assert not run.has_settled([*correlations, 0.82])
    assert run.has_settled([*correlations, 0.805])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"assignment": "optimal", "reorder": False}, "no effect with --no-reorder"),
        ({"rri": 0, "base_epochs": 0}, "trains nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        SvdnetSpec(**settings).validate_fields()


def test_learning_rates_are_positive():
    with pytest.raises(ValueError, match="positive"):
        SvdnetSpec(lrs=(1e-3, 0.0))
