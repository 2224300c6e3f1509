"""A run as a list of phases; plain fine-tuning as a run of one."""

import pytest
import torch
from timm.scheduler import create_scheduler_v2
from torch import nn

from covtool.specs import TrainingSpec
from covtool.training.parts.phases import KINDS, Phase, TrainingPhases, single_phase
from covtool.training.parts.schedule import Schedule


def test_fine_tuning_is_one_phase_that_is_judged_after_each_epoch_and_shows_nothing() -> None:
    phases = single_phase(TrainingSpec(epochs=3, lr=0.1))
    assert phases.phases == (Phase(name="finetune", epochs=3, lr=0.1),)
    assert all(phases.is_judged_after(epoch) for epoch in range(3))
    assert [phases.note(epoch) for epoch in range(3)] == [None] * 3
    assert phases.shown == phases.holds == ()
    assert phases.at(0).label == ""
    assert not phases.has_settled([0.5] * 3)


def test_a_run_that_got_fewer_epochs_than_it_has_done_is_in_its_last_phase() -> None:
    phases = single_phase(TrainingSpec(epochs=2))
    assert phases.can_be_shortened
    assert phases.at(4) == phases.phases[0]


@pytest.mark.parametrize("name", KINDS)
def test_every_phase_is_judged_at_its_end_at_the_latest(name: str) -> None:
    rows = [Phase(name=name, epochs=2, lr=0.1), Phase(name=name, start=2, epochs=3, lr=0.1)]
    phases = TrainingPhases(phases=tuple(rows))
    judged = [epoch for epoch in range(phases.epochs) if phases.is_judged_after(epoch)]
    assert judged == ([0, 1, 2, 3, 4] if KINDS[name].judged_each_epoch else [1, 4])


@pytest.mark.parametrize("name", KINDS)
def test_the_optimizer_forgets_where_a_phase_begins_but_at_the_start(name: str) -> None:
    rows = [Phase(name=name, epochs=2, lr=0.1), Phase(name=name, start=2, epochs=3, lr=0.1)]
    forgotten: list[int] = []
    for epoch in range(5):
        phases = TrainingPhases(phases=tuple(rows))
        phases.enter_([], epoch, forget=lambda: forgotten.append(epoch), seed=0)  # noqa: B023
    assert forgotten == [2]


@pytest.mark.parametrize("sched", ["cosine", "step", "poly"])
def test_the_rates_of_one_phase_are_those_of_timm_to_the_last_bit(sched: str) -> None:
    training = TrainingSpec(
        epochs=6, lr=0.3, sched=sched, decay_epochs=2, warmup_epochs=1, warmup_lr=0.01
    )
    ours, theirs = (
        torch.optim.SGD(
            [
                {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.3, "lr_scale": scale}
                for scale in (0.7, 5.0)
            ]
        )
        for _ in range(2)
    )
    schedule = Schedule(ours, training, single_phase(training).phases, updates_per_epoch=5)
    scheduler, _ = create_scheduler_v2(
        theirs,
        sched=sched,
        num_epochs=6,
        decay_epochs=2,
        decay_rate=training.decay_rate,
        warmup_epochs=1,
        warmup_lr=0.01,
        min_lr=training.min_lr,
        step_on_epochs=False,
        updates_per_epoch=5,
    )
    for update in range(31):
        schedule.set_updates(update)
        scheduler.step_update(update)
        rates = [[group["lr"] for group in o.param_groups] for o in (ours, theirs)]
        assert rates[0] == rates[1]
        assert schedule.last_lr(update) == schedule.lr == rates[0][0] / 0.7
