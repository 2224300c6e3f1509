"""What makes a run faster or smaller changes what it computes as little as it promises to."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from operation_cases import CASES, CLASSES, IMAGES, SIDE
from tolerances import EXACT, FLOAT32_CHAIN
from torch import Tensor, nn
from torch.testing import assert_close
from toy_data import write_toy_data
from training_runs import Recorder, make_request, power_cut, weights

from covtool.backbones.create import create_model, parse_name
from covtool.errors import ArgumentError
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.specs import ConvolutionSpec, Operation, TrainingSpec
from covtool.surgery.operations import PlanContext, plan_step
from covtool.training import FinetuneResult, finetune, plan_finetune
from covtool.training.parts.acceleration import (
    checkpoint_gradients_,
    recomputing,
    require_recomputable,
    tf32,
)
from covtool.variants import CONVOLUTIONS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


def end_of(result: FinetuneResult) -> dict[str, Tensor]:
    return weights(result.directory / "checkpoints/last.pt")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(parse_name(name)[0], num_classes=5).double()


def operated(plain: nn.Module, operation: Operation) -> nn.Module:
    step = plan_step(plain, operation, PlanContext(images=IMAGES, num_classes=CLASSES))
    return step.apply(plain)


def calls_in_two_steps(model: nn.Module, images: Tensor, *, checkpointed: bool) -> int:
    """Train mode, forward and backward, twice; how often the middle of the model was computed."""
    calls = []
    middle = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    middle[len(middle) // 2].register_forward_hook(lambda *_: calls.append(1))
    model.train()
    for scale in (1, 3):  # running means settle differently from one batch to the next
        logits = model(scale * images)
        with recomputing(model, TrainingSpec(grad_checkpointing=checkpointed)):
            logits.square().sum().backward()
    return len(calls)


def assert_recomputing_changes_nothing(plain: nn.Module, name: str, side: int) -> None:
    checkpointed = deepcopy(plain)
    checkpoint_gradients_(checkpointed, name)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    assert calls_in_two_steps(plain, images, checkpointed=False) == 2
    assert calls_in_two_steps(checkpointed, images, checkpointed=True) == 4
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if one.requires_grad:
            assert_close(one.grad, other.grad, msg=name, **EXACT)
    for (name, one), other in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert_close(one, other, msg=name, **EXACT)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("frozen", [0, 5])
def test_recomputed_activations_give_the_same_gradients_and_statistics(
    name: str, frozen: int
) -> None:
    plain = network(name)
    for parameter in list(plain.parameters())[:frozen]:
        parameter.requires_grad_(False)
    assert_recomputing_changes_nothing(plain, name, 160)


OPERATORS = [ConvolutionSpec(conv=row.name) for row in CONVOLUTIONS] + [
    ConvolutionSpec(conv="tanh", angular=angular, weighting="linear")
    for angular in ANGULAR_ACTIVATIONS.names
]


@pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: f"{spec.conv}, {spec.angular}")
def test_operators_are_computed_again_as_they_were(spec: ConvolutionSpec) -> None:
    converted = operated(network("test_resnet"), spec)
    assert_recomputing_changes_nothing(converted, "test_resnet", 64)


def test_compiled_code_may_not_be_computed_again_with_a_mean_that_follows() -> None:
    both = TrainingSpec(grad_checkpointing=True, torchcompile=True)
    plain = network("test_resnet")
    moving = operated(plain, ConvolutionSpec(conv="tanh"))
    with pytest.raises(ArgumentError, match="--grad-checkpointing and --torchcompile"):
        require_recomputable(moving, both)
    require_recomputable(plain, both)
    require_recomputable(operated(plain, ConvolutionSpec(conv="tanh", unit="none")), both)
    require_recomputable(operated(plain, ConvolutionSpec(conv="linear", angular="sigmoid")), both)
    for one in (both.model_copy(update={name: False}) for name in both.model_fields_set):
        require_recomputable(moving, one)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"conv"}))
def test_other_operations_leave_a_model_that_can_be_recomputed(name: str) -> None:
    case = CASES[name]
    converted = operated(case.network().double(), case.spec)
    assert_recomputing_changes_nothing(converted, case.base.name, SIDE)


def test_statistics_would_be_counted_twice_otherwise() -> None:
    model = network("test_resnet")
    checkpoint_gradients_(model, "test_resnet")
    model.train()(torch.randn(2, 3, 32, 32, dtype=torch.float64)).sum().backward()
    assert model.layer2[0].bn1.num_batches_tracked == 2


def test_a_run_with_recomputed_activations_ends_with_the_same_weights(
    data: Path, tmp_path: Path
) -> None:
    ends = [
        end_of(finetune(make_request(data, tmp_path, grad_checkpointing=way)))
        for way in (False, True)
    ]
    for name, tensor in ends[0].items():
        assert_close(tensor, ends[1][name], msg=name, **EXACT)


@pytest.mark.parametrize("name", ["torchvision:shufflenet_v2_x0_5", "hrnet_w18_small"])
def test_a_model_that_cannot_recompute_is_named(name: str) -> None:
    with torch.device("meta"):
        model = create_model(parse_name(name)[0], num_classes=5)
    with pytest.raises(ArgumentError, match=f"{name} does not support --grad-checkpointing"):
        checkpoint_gradients_(model, name)


def precision() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("allowed", "inside"), [(True, ("high", True)), (False, ("highest", False))]
)
def test_tf32_is_as_asked_for_while_a_run_lasts_and_as_before_afterwards(
    allowed: bool, inside: tuple[str, bool], data: Path, tmp_path: Path
) -> None:
    seen = []

    class Looker(Recorder):
        def on_step(self, record: object) -> None:
            seen.append(precision())

        def on_epoch(self, record: object) -> None:
            power_cut()

    before = precision()
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(make_request(data, tmp_path, tf32=allowed), observer=Looker())
    assert set(seen) == {inside}
    assert precision() == before
    plan_finetune(make_request(data, tmp_path, tf32=allowed))
    assert precision() == before


def test_tf32_is_left_alone_where_nothing_is_asked_for() -> None:
    before = precision()
    with tf32(None):
        assert precision() == before


def test_a_compiled_model_trains_like_the_model_itself(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    original = partial(torch.compile, backend="eager")  # the real one takes minutes here
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(1) or original(model))
    settings = {"freeze": ["backbone@1"], "epochs": 2, "lr": 0.01}
    ends = [
        end_of(finetune(make_request(data, tmp_path, torchcompile=way, **settings)))
        for way in (False, True)
    ]
    assert compiled == [1]
    for name, tensor in ends[0].items():
        assert_close(tensor, ends[1][name], msg=name, **FLOAT32_CHAIN)
