"""Hybrid training: the head's function changes at an epoch, its weights do not."""

import csv
import signal
from pathlib import Path

import pytest
import torch
from tolerances import EXACT
from torch.testing import assert_close
from toy_data import write_toy_data

from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError, InterruptedRunError, UnknownVariantError
from covtool.ops.second_order import computed_in
from covtool.specs import FinetuneRequest, HeadSpec, InputOverrides, ModelSource, TrainingSpec
from covtool.specs.head_schedule import HeadPhase, parse_head_schedule
from covtool.training import finetune, resume_finetune
from covtool.training.parts.head_schedule import plan_head_schedule, poolings_in
from covtool.training.run.observer import SilentObserver

HYBRID = "isqrt@0,mpn:pade@1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = ConversionRequest(
        source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (64, 64)}),
        operations=[HeadSpec(dim=6, iterations=4)],
        output=tmp_path_factory.mktemp("model") / "isqrt.safetensors",
    )
    return convert(request).path


def request(model: Path, data: Path, runs: Path, **training: object) -> FinetuneRequest:
    settings = {"epochs": 2, "batch_size": 6, "workers": 0, "device": "cpu", "seed": 3, **training}
    return FinetuneRequest(
        model=str(model),
        data=str(data),
        new_classifier=True,
        images=InputOverrides(img_size=64),
        output=str(runs),
        training=TrainingSpec(**settings),
    )


class Notes(SilentObserver):
    def __init__(self, *, interrupt_at: int | str | None = None) -> None:
        self.notes, self.interrupt_at = [], interrupt_at

    def on_note(self, text: str) -> None:
        self.notes.append(text)
        if isinstance(self.interrupt_at, str) and self.interrupt_at in text:
            signal.raise_signal(signal.SIGINT)

    def on_step(self, record: object) -> None:
        if record.update == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)


def head_of(path: Path) -> HeadSpec:
    return load(path).recipe.operations[-1]


def test_schedule_is_read_as_it_is_written() -> None:
    assert parse_head_schedule("isqrt@0, mpn:pade@30") == (
        HeadPhase(head="isqrt", epoch=0),
        HeadPhase(head="mpn", gradient="pade", epoch=30),
    )


@pytest.mark.parametrize("text", ["isqrt", "isqrt@", "@3", "isqrt@-1", "a@1,,b@2", "a:b:c@1", ""])
def test_what_is_no_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ArgumentError, match="isqrt@0,mpn:pade@30"):
        parse_head_schedule(text)


@pytest.mark.parametrize("text", ["isqrt@3,mpn@3", "isqrt@3,mpn@1"])
def test_epochs_must_rise(text: str) -> None:
    with pytest.raises(ArgumentError, match="do not rise"):
        parse_head_schedule(text)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("isqrt@0,mpm@1", UnknownVariantError, "Did you mean"),
        ("mpn:tailor@1", UnknownVariantError, "Did you mean 'taylor'"),
        ("isqrt:taylor@1", ArgumentError, "no gradient rule"),
        ("mpn@2", ArgumentError, "ends after 2 epochs"),
        ("gap@1", ArgumentError, "isqrt, mpn"),
        ("gaussian@1", ArgumentError, "weights differ"),
    ],
)
def test_impossible_schedules_are_refused(
    text: str, kind: type[Exception], message: str, converted: Path
) -> None:
    model = load(converted)
    with pytest.raises(kind, match=message):
        plan_head_schedule(text, model, model.recipe, epochs=2)


def test_model_without_a_covariance_head_is_sent_to_convert(data: Path, tmp_path: Path) -> None:
    wanted = request(Path("test_resnet"), data, tmp_path, head_schedule=HYBRID)
    with pytest.raises(ArgumentError, match="covtool convert"):
        finetune(wanted.model_copy(update={"from_scratch": True}))


def test_switching_keeps_every_parameter_and_changes_the_function(converted: Path) -> None:
    model = load(converted)
    schedule = plan_head_schedule("mpn@1,isqrt@2", model, model.recipe, epochs=3)
    parameters = list(model.parameters())
    images = torch.rand(2, 3, 64, 64)
    outputs = []
    for epoch in range(3):
        schedule.switch_([model], epoch)
        outputs.append(model(images).detach())
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert_close(outputs[0], outputs[2], **EXACT)  # with the file's four iterations again
    assert not torch.equal(outputs[0], outputs[1])
    assert (outputs[0] - outputs[1]).norm() < 0.5 * outputs[0].norm()


def test_compiled_model_follows_the_switch(converted: Path) -> None:
    model = load(converted)
    schedule = plan_head_schedule("cov@1", model, model.recipe, epochs=2)
    compiled = torch.compile(model, backend="eager")
    images = torch.rand(2, 3, 64, 64)
    for epoch in range(2):
        schedule.switch_([model], epoch)
        assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def finished(converted: Path, data: Path, tmp_path_factory: pytest.TempPathFactory):
    observer = Notes()
    wanted = request(
        converted, data, tmp_path_factory.mktemp("runs"), head_schedule=HYBRID, model_ema=True
    )
    return finetune(wanted, observer=observer), observer


def test_exported_file_carries_the_head_of_its_epoch(finished: tuple) -> None:
    result, _ = finished
    last = head_of(result.exported["last"])
    assert (last.head, last.gradient, last.iterations) == ("mpn", "pade", 5)
    best = head_of(result.exported["best"])
    assert best.head == ("isqrt" if result.best_epoch == 1 else "mpn")
    assert HYBRID in load(result.exported["last"]).recipe.provenance.history[-1]


def test_log_says_when_the_head_switched(finished: tuple) -> None:
    result, observer = finished
    switches = [note for note in observer.notes if "switches" in note]
    assert switches == ["Epoch 2: the head switches from isqrt to mpn:pade."]
    with (result.directory / "summary.csv").open() as file:
        assert [row["head"] for row in csv.DictReader(file)] == ["isqrt", "mpn:pade"]


@pytest.mark.parametrize(("moment", "head"), [(1, "isqrt"), ("switches", "mpn"), (3, "mpn")])
def test_interrupted_run_ends_like_the_uninterrupted_one(
    moment: int | str, head: str, finished: tuple, converted: Path, data: Path, tmp_path: Path
) -> None:
    wanted = request(converted, data, tmp_path, head_schedule=HYBRID, model_ema=True)
    with pytest.raises(InterruptedRunError):
        finetune(wanted, observer=Notes(interrupt_at=moment))
    directory = next((tmp_path / "finetune").iterdir())
    assert head_of(directory / "exported" / "last.safetensors").head == head
    result = resume_finetune(directory)
    for name in ("best", "last"):
        assert result.exported[name].read_bytes() == finished[0].exported[name].read_bytes()


def test_schedule_of_a_run_cannot_change_when_it_is_resumed(
    converted: Path, data: Path, tmp_path: Path
) -> None:
    wanted = request(converted, data, tmp_path, head_schedule=HYBRID)
    with pytest.raises(InterruptedRunError):
        finetune(wanted, observer=Notes(interrupt_at=1))
    directory = next((tmp_path / "finetune").iterdir())
    with pytest.raises(ArgumentError, match="--head-schedule is cov@1 now"):
        resume_finetune(directory, changes={"head_schedule": "cov@1"})


@pytest.mark.parametrize("tap", [None, ("layer3", "layer4")])
def test_every_pooling_of_a_fused_model_is_switched(tap, tmp_path: Path) -> None:
    made = convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (64, 64)}),
            operations=[HeadSpec(dim=6, fuse="gap", tap=tap)],
            output=tmp_path / "fused.safetensors",
        )
    )
    model = load(made.path)
    schedule = plan_head_schedule("mpn@0", model, model.recipe, epochs=1)
    schedule.switch_([model], 0)
    poolings = poolings_in(model)
    assert len(poolings) == (2 if tap else 1)
    # The root by eigendecomposition, in float64, in place of the iteration's.
    assert all(pooling.matrix.func is computed_in for pooling in poolings)
    assert schedule.recipe(model.recipe, 0).operations[-1].head == "mpn"
