"""A whole update of a converted network on a CUDA device that is not here."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fake_devices import fake_device
from toy_data import write_toy_data
from training_runs import make_request

from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError
from covtool.processes import ALONE
from covtool.specs import ModelSource
from covtool.specs.operations import ConvolutionSpec, HeadSpec
from covtool.training.parts import assembly
from covtool.training.parts.acceleration import loss_scaler
from covtool.training.parts.replica import Replica
from covtool.training.parts.schedule import Schedule
from covtool.training.run.observer import SilentObserver
from covtool.training.start.finetune import open_source, read_layout, resolve_defaults
from covtool.training.start.prepare import build_parts
from covtool.training.step.guarded_update import guarded_update_
from covtool.training.step.update import centralized_norm

UPDATE = "covtool/training/step/update.py"
GUARDED = {
    (UPDATE, "clip_"): "the norm of the gradient",
    ("covtool/training/step/nonfinite.py", "are_finite"): "the statistics of the forward pass",
}
"""What an update waits for at its end: nothing that is not finite may change the weights."""
SCALED = {
    (UPDATE, "is_usable"): "the scale: is this overflow one of many?",
    (UPDATE, "centralize_and_step_"): "torch's own look for an overflow",
}
"""What float16 adds."""


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A file of a network with decoupled operators and an eigendecomposition, and its images."""
    folder = tmp_path_factory.mktemp("step")
    write_toy_data(folder / "toy", train=4, val=2)
    torch.manual_seed(0)
    request = ConversionRequest(
        source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (64, 64)}),
        operations=(
            ConvolutionSpec(conv="tanh", angular="sigmoid", weighting="linear"),
            HeadSpec(head="mpn", dim=8),
        ),
        output=folder / "net.safetensors",
        classes_from=folder / "toy",
        workers=0,
    )
    return convert(request).path, folder / "toy"


def assembled(converted, folder, **settings):
    model, data = converted
    tiny = {"from_scratch": False, "batch_size": 4, "img_size": 64}
    request = resolve_defaults(
        make_request(data, folder, model=str(model), **tiny, **settings), ALONE
    )
    observer = SilentObserver()
    layout = read_layout(request, observer)
    return build_parts(open_source(request, observer, ALONE), request, layout, observer, ALONE)


def on_fake(fake, parts):
    """The parts of a run, on the fake device: what depends on the weights is made again."""
    training = parts.training
    for model in parts.models:
        fake.module(model)
    optimizer = assembly._optimizer(parts.model, parts.groups, parts.request)
    return replace(
        parts,
        optimizer=optimizer,
        centralization=assembly._centralization(optimizer, parts.model, training),
        schedule=Schedule(optimizer, training, parts.phases.phases, updates_per_epoch=3),
        scaler=loss_scaler(fake.device, training),
        device=fake.device,
    )


class Event:
    """Stands for an event of CUDA; `waits` counts how often one was waited for."""

    waits = 0

    def record(self, stream):
        assert stream == "of cuda"

    def synchronize(self):
        Event.waits += 1


@contextmanager
def events(monkeypatch):
    Event.waits = 0
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device.type}")
    yield


SETTINGS = [
    {},
    {"amp": True, "amp_dtype": "bfloat16", "channels_last": True},
    {"amp": True, "amp_dtype": "float16", "clip_grad": 1.0, "model_ema": True},
    {"mixup": 0.4, "cutmix": 1.0, "gc": True, "opt": "adamw", "smoothing": 0.1},
    {"grad_accum_steps": 2, "model_ema": True, "gc": True, "gc_on": "update"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_update_waits_for_the_device_only_where_it_guards_the_weights(
    converted, tmp_path, monkeypatch, settings
):
    parts = assembled(converted, tmp_path, **settings)
    parts.begin_epoch(0)
    allowed = {**GUARDED, **(SCALED if settings.get("amp_dtype") == "float16" else {})}
    accumulated = settings.get("grad_accum_steps", 1)
    with fake_device(allowed=allowed) as fake, events(monkeypatch):
        parts = on_fake(fake, parts)
        assert parts.scaler.is_enabled() == (settings.get("amp_dtype") == "float16")
        images = torch.rand(4, 3, 64, 64, device="cpu")
        labels = torch.zeros(4, dtype=torch.long, device="cpu")
        run = SimpleNamespace(
            parts=parts, state=SimpleNamespace(updates=0, micro_batch=None), observer=None
        )
        result = guarded_update_(run, [(images, labels)] * accumulated)
    assert result.problem is None
    assert result.images == 4 * accumulated
    assert Event.waits == accumulated  # the loss of each batch
    assert [place for place in fake.waits if place in GUARDED] == [*GUARDED]
    assert all(p.device.type == "cuda" for p in parts.model.parameters())
    for group in parts.optimizer.param_groups:
        for parameter in group["params"]:
            assert parameter.grad.device == parameter.device
            for value in parts.optimizer.state.get(parameter, {}).values():
                on_cpu = not torch.is_tensor(value) or value.ndim == 0  # counters of steps
                assert on_cpu or value.device == parameter.device
    if settings.get("channels_last"):
        filters = [p for p in parts.model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        assert filters
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


def test_the_log_of_centralization_reads_one_number_more(converted, tmp_path):
    parts = assembled(converted, tmp_path, gc=True)
    place = (UPDATE, "centralized_norm")
    with fake_device(allowed={place}) as fake:
        parts = on_fake(fake, parts)
        for parameter in parts.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        parts.optimizer.step()
        assert centralized_norm(parts, 100.0) is not None
    assert fake.waits == [place]


def test_cuda_graphs_are_refused_where_there_are_none(converted, tmp_path):
    settings = {"torchcompile": True, "torchcompile_mode": "reduce-overhead"}
    with pytest.raises(ArgumentError, match="records CUDA graphs, and the device is cpu"):
        assembled(converted, tmp_path, **settings)


def test_a_graph_is_told_where_a_pass_begins(monkeypatch):
    asked, begun = [], []
    monkeypatch.setattr(torch, "compile", lambda network, **mode: asked.append(mode) or network)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    replica = Replica(torch.nn.Linear(3, 2), compiled=True, mode="reduce-overhead")
    replica(torch.zeros(1, 3))
    Replica(torch.nn.Linear(3, 2), compiled=True)(torch.zeros(1, 3))
    assert (asked, begun) == ([{"mode": "reduce-overhead"}, {}], [1])
