"""Several processes calibrate what one process calibrates."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from process_group import run_together
from safetensors.torch import load_file
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name
from covtool.conversion import ConversionRequest, convert, plan_conversion
from covtool.errors import OutputExistsError
from covtool.specs import ConvertSpec, ConvolutionSpec, HeadSpec, ModelSource
from covtool.surgery.calibration_memory import plan_memory


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("colors"))


@pytest.fixture
def asked(colors, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "test_resnet.pth"
    torch.save(create_model(parse_name("test_resnet")[0], num_classes=1000).state_dict(), path)
    return partial(
        ConversionRequest,
        source=ModelSource(name=str(path), input={"size": (64, 64)}),
        calibrate_with=colors,
        workers=0,
        batch_size=5,
        device="cpu",
    )


def together(rank, requests):
    shown = set()

    def track(iterable, description, total):
        shown.add((description, total))
        yield from iterable

    return [convert(request, track=track) for request in requests], shown


def figures(result):
    """What a conversion says, apart from where it wrote."""
    return result.calibration, [r.kept for r in result.plan.convolutions], result.untouched


def assert_same(alone, done):
    """The same head to 1e-6, and everything else to the last bit."""
    one, several = load_file(alone.path), load_file(done.path)
    assert set(one) == set(several)
    for name, tensor in one.items():
        torch.testing.assert_close(several[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    assert done.plan.recipe.provenance.metrics == alone.plan.recipe.provenance.metrics


CASES = {
    "kept": {"operations": [HeadSpec(dim=8)]},
    "batch-norms": {
        "operations": [HeadSpec(dim=4, reduction="conv-bn-relu", post_norm="batchnorm")]
    },
    "streamed": {
        "operations": [HeadSpec(dim=6)],  # features are fewer than images, and not kept
        "spec": ConvertSpec(calibrate_memory=plan_memory(36, 21, 1e-6, classes=3).exact_gib),
    },
    "projected": {"operations": [HeadSpec(dim=8)], "spec": ConvertSpec(calibrate_memory=1e-6)},
    "operators": {"operations": [ConvolutionSpec(conv="tanh")]},
}


def test_heads_and_operators_are_those_of_one_process(asked, tmp_path):
    requests = [
        asked(output=tmp_path / f"{name}-of-three.safetensors", **case)
        for name, case in CASES.items()
    ]
    (first, shown), *others = run_together(together, requests, world=3)
    for request, done in zip(requests, first, strict=True):
        alone = convert(replace(request, output=tmp_path / f"alone-{request.output.name}"))
        assert_same(alone, done)
        told, expected = figures(done), figures(alone)
        assert told[1:] == expected[1:]
        if told[0] is not None:
            assert told[0].images == expected[0].images
            assert told[0].left_out_top_1 == expected[0].left_out_top_1
            assert told[0].penalty == pytest.approx(expected[0].penalty, rel=1e-6)
            assert told[0].kept_features == expected[0].kept_features
    # Eight batches of five images, three processes.
    assert ("features for the classifier", 3) in shown
    for done, unheard in others:
        assert [figures(result) for result in done] == [figures(result) for result in first]
        assert unheard == set()


def plan_and_convert(rank, request):
    plan_conversion(request)
    convert(request)
    convert(request)


def test_an_output_that_is_there_is_refused_to_all(asked, tmp_path):
    request = asked(operations=[HeadSpec(dim=4)], output=tmp_path / "out.safetensors")
    for problem in run_together(plan_and_convert, request):
        assert isinstance(problem, OutputExistsError)
