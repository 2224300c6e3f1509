"""Several processes train what one process would train with their batches together."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from process_group import run_together
from toy_data import write_toy_data
from training_runs import LOSSES, WEIGHTS, Recorder, make_request

from covtool.training import finetune


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=11)


@pytest.fixture
def asked(data, tmp_path):
    return partial(make_request, data, tmp_path / "runs")


def run(request):
    """What somebody sees of a run, and what it leaves behind."""
    observer = Recorder()
    result = finetune(request, observer=observer)
    state = torch.load(result.directory / "checkpoints/last.pt", weights_only=True)
    return {"result": result, "steps": observer.steps, "epochs": observer.epochs, **state}


def train(rank, requests):
    return [run(request) for request in requests]


def assert_close_runs(one, several):
    assert len(one["steps"]) == len(several["steps"]) > 0
    for expected, got in zip(one["steps"], several["steps"], strict=True):
        assert (got.step, got.lr) == (expected.step, expected.lr)
        assert got.loss == pytest.approx(expected.loss, **LOSSES)
        assert got.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
    for expected, got in zip(one["epochs"], several["epochs"], strict=True):
        assert got.train_loss == pytest.approx(expected.train_loss, **LOSSES)
        assert got.eval_loss == pytest.approx(expected.eval_loss, rel=1e-5)
        assert got.top_1 == expected.top_1
    for kind in ("model", "model_ema"):
        for name, tensor in (one[kind] or {}).items():
            torch.testing.assert_close(
                several[kind][name],
                tensor,
                msg=lambda text, name=name: f"{name}: {text}",
                **WEIGHTS,
            )


WITHOUT_BATCH_NORM = {
    "accumulated": {
        "grad_accum_steps": 2,
        "clip_grad": 0.5,
        "model_ema": True,
        "gc": True,
        "gc_on": "update",
    },
    # One batch of 33 images, of which one process has 17 and the other 16.
    "unequal": {"batch_size": 64},
    # The parameters that are trained, and so the buckets of gradients, change with the epoch.
    "unfrozen": {"freeze_epochs": 1, "channels_last": True},
}


def test_without_batch_norm_losses_and_weights_are_those_of_one_process(asked):
    common = {"model": "test_convnext", "batch_size": 12, "lr": 0.01, "smoothing": 0}
    settings = [{**common, **special} for special in WITHOUT_BATCH_NORM.values()]
    halved = [{**s, "batch_size": s["batch_size"] // 2} for s in settings]
    first, second = run_together(train, [asked(**s) for s in halved])
    for number, setting in enumerate(settings):
        assert_close_runs(run(asked(**setting)), first[number])
        # The second process has the same result, and nobody hears it.
        measured = {"seconds": 0, "peak_memory_mib": None}  # by each process of its own
        others = [replace(runs[number]["result"], **measured) for runs in (first, second)]
        assert others[0] == others[1]
        assert second[number]["steps"] == []


def train_compiled(rank, requests):
    torch.compile = partial(torch.compile, backend="aot_eager")  # everything but a C++ compiler
    return train(rank, requests)


@pytest.mark.slow
def test_compiled_they_are_as_well(asked):
    settings = {"model": "test_convnext", "lr": 0.01, "freeze_epochs": 1}
    request = asked(torchcompile=True, **settings)
    (together,), _ = run_together(train_compiled, [request])
    assert_close_runs(run(asked(batch_size=12, **settings)), together)


def test_with_synchronized_batch_norms_they_are_as_well(asked):
    common = {"batch_size": 12, "bn_stats": "train", "lr": 0.01}
    settings = [{**common, "batch_size": 64}, {**common, "grad_accum_steps": 2}]
    halved = [{**s, "batch_size": s["batch_size"] // 2, "sync_bn": True} for s in settings]
    several, _ = run_together(train, [asked(**s) for s in halved])
    for setting, together in zip(settings, several, strict=True):
        one = run(asked(**setting))
        assert set(one["model"]) == set(together["model"])
        assert_close_runs(one, together)


def test_without_synchronization_batch_norms_keep_the_mean_of_all_statistics(asked):
    still = {"bn_stats": "train", "epochs": 1, "lr": 1e-9, "warmup_lr": 0}
    (together,), _ = run_together(train, [asked(**still)])
    one = run(asked(batch_size=12, **still))
    means = [name for name in one["model"] if name.endswith("running_mean")]
    # Of the first layer: what others see depends on how their batch was normalized before.
    torch.testing.assert_close(together["model"][means[0]], one["model"][means[0]])
    assert not torch.allclose(together["model"][means[-1]], one["model"][means[-1]])
    assert together["model"][means[0]].abs().min() > 0
