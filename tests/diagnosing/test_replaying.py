from functools import partial

import pytest
import torch
from toy_data import write_toy_data
from training_runs import Recorder, make_request

from covtool.conversion import ConversionRequest, convert
from covtool.diagnosing.replaying import replay
from covtool.errors import ArgumentError, CheckpointError, NonFiniteError
from covtool.specs import HeadSpec, InputOverrides, ModelSource
from covtool.training import finetune
from covtool.training.start import prepare
from covtool.training.step.nonfinite_dump import read_dump


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def asked(data, tmp_path):
    """Make a request: any setting, or fields of the request."""
    return partial(make_request, data, tmp_path / "runs")


@pytest.fixture
def models(monkeypatch):
    """The models of runs that are started."""
    made, original = [], prepare.assemble
    monkeypatch.setattr(
        prepare, "assemble", lambda model, *rest: original(made.append(model) or model, *rest)
    )
    return made


@pytest.fixture
def stopped(models):
    """The dump of a run whose model is changed after its third update."""

    def run(request, change):
        recorder = Recorder(at_update=3, do=lambda: change(models[-1]))
        with pytest.raises(NonFiniteError):
            finetune(request, observer=recorder)
        return recorder.plans[0].directory / "nonfinite.pt"

    return run


@torch.no_grad()
def poison(model):
    model.layer3[0].conv1.weight[0, 0] = torch.nan


@torch.no_grad()
def blow_up(model):
    """The weights are finite, and their products with features are not."""
    model.get_classifier().weight.sign_().mul_(3e38)


@torch.no_grad()
def overflow_gradient(model):
    """The loss is large, and the squares of its gradient are too large."""
    model.get_classifier().weight.mul_(1e25)


def test_a_weight_that_is_not_a_number_is_found_again(asked, stopped):
    result = replay(stopped(asked(), poison))
    assert result.reproduced
    assert result.update == 4
    assert result.found == result.problem == "The loss is nan"
    assert result.found_reason == result.reason
    assert "'layer3.0.conv1' (Conv2d); its weight is not finite" in result.reason
    assert list(result.tensors) == ["layer3.0.conv1.weight"]
    of = result.tensors["layer3.0.conv1.weight"]
    assert 0 < of.non_finite < of.size
    assert result.loss is result.loss_then is None
    assert result.gradients == ()


def test_an_overflow_is_found_where_it_starts_and_the_images_are_innocent(asked, stopped):
    path = stopped(asked(grad_accum_steps=2, mixup=0.4, model_ema=True), blow_up)
    result = replay(path)
    assert result.reproduced
    names = [layer.name for layer in result.outputs]
    first = next(layer for layer in result.outputs if layer.figures.non_finite)
    before = result.outputs[names.index(first.name) - 1]
    assert first.name == "fc"
    assert "'fc' (Linear)." in result.reason
    assert before.figures.max_abs > 0
    assert result.tensors == {}
    assert result.inputs.non_finite == 0
    seen = read_dump(path).batches[-1].images
    assert result.inputs.images == len(seen) == 6
    assert result.inputs.mean == pytest.approx(float(seen.double().mean()))
    assert result.inputs.std == pytest.approx(float(seen.double().std(correction=0)))
    assert (result.inputs.minimum, result.inputs.maximum) == (float(seen.min()), float(seen.max()))


def test_statistics_that_overflow_are_found_again(asked, stopped):
    def enlarge(model):
        model.layer2[0].conv1.weight.data.mul_(1e30)

    result = replay(stopped(asked(), enlarge))
    assert result.reproduced
    assert result.problem == "The statistics of a batch norm are not finite"
    assert result.found_reason == result.reason
    assert "'layer2.0.bn1.running_var'" in result.reason
    assert result.loss == result.loss_then


def test_a_gradient_is_computed_again_to_the_last_bit_with_the_same_dropout(
    asked, stopped, tmp_path
):
    converted = convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
            operations=[HeadSpec(head="dropcov", dim=8)],
            output=tmp_path / "dropcov.safetensors",
        )
    )
    request = asked(
        model=str(converted.path),
        images=InputOverrides(),
        from_scratch=False,
        mixup=0.3,
        grad_accum_steps=2,
    )
    result = replay(stopped(request, overflow_gradient))
    assert result.reproduced
    assert result.problem == "The gradient is not finite"
    assert "its norm overflows" in result.reason
    assert result.loss == result.loss_then > 1e20
    assert max(layer.figures.max_abs for layer in result.gradients) > 1e18


def test_what_the_dump_does_not_hold_is_not_reproduced(asked, models):
    """An infinity that comes from outside of the model, the images and the weights."""

    def fail(module, inputs, output):
        return output * torch.inf

    recorder = Recorder(at_update=3, do=lambda: models[-1].layer1.register_forward_hook(fail))
    with pytest.raises(NonFiniteError):
        finetune(asked(), observer=recorder)
    result = replay(recorder.plans[0].directory / "nonfinite.pt")
    assert not result.reproduced
    assert result.found is result.found_reason is None
    assert result.problem.startswith("The loss is ")
    assert result.loss > 0
    assert all(layer.figures.non_finite == 0 for layer in (*result.outputs, *result.gradients))


def test_half_precision_is_replayed_in_half_precision(asked, stopped):
    result = replay(stopped(asked(amp=True, amp_dtype="bfloat16"), poison))
    assert result.reproduced
    assert result.precision == "bfloat16 (autocast)"


def test_replaying_changes_nothing(asked, stopped):
    path = stopped(asked(), blow_up)
    content = path.read_bytes()
    first, second = replay(path), replay(path)
    assert first == second
    assert path.read_bytes() == content


def test_other_files_and_devices_are_refused(asked, stopped, tmp_path):
    path = tmp_path / "some.pt"
    with pytest.raises(CheckpointError, match="cannot be read"):
        replay(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        replay(path)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="is not a dump"):
        replay(path)
    dump = stopped(asked(), poison)
    with pytest.raises(ArgumentError, match="device"):
        replay(dump, device="nonsense")
    last = dump.parent / "checkpoints/last.pt"
    with pytest.raises(CheckpointError, match="is not a dump"):
        replay(last)
    payload = torch.load(dump, weights_only=True)
    torch.save({**payload, "version": 99}, path)
    with pytest.raises(CheckpointError, match="another version"):
        replay(path)
    torch.save({**payload, "recipe": {}}, path)
    with pytest.raises(CheckpointError, match="is damaged"):
        replay(path)
