"""Evaluation by several processes gives what one process gives, to the last bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from images import truncate, write_classes
from process_group import run_together

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.specs import AttackSpec, BaseSpec, InputSpec, LaunchSpec, Provenance, Recipe

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("evaluated")
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=CLASSES,
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    data = write_classes(folder / "data" / "val", {"a": 4, "b": 5, "c": 2}).parent
    return EvaluationRequest(
        source=str(save(model, folder / "net.safetensors")),
        data=data,
        batch_size=2,
        workers=0,
        device="cpu",
        launch=LaunchSpec(dist_timeout=60),
    )


def together(rank, request):
    shown = []

    def track(iterable, description, total):
        shown.append((description, total))
        yield from iterable

    return evaluate(request, track=track), shown


def untimed(result):
    return replace(result, images_per_s=0)


@pytest.mark.parametrize("world", [2, 4])
def test_figures_and_predictions_are_those_of_one_process(asked, world):
    attack = AttackSpec(attack="pgd", eps="8/255", steps=2)
    request = replace(asked, attack=attack)
    alone = evaluate(request)
    results = run_together(together, request, world=world)
    for done, _ in results:
        assert untimed(done.result) == untimed(alone.result)
        assert untimed(done.attacked) == untimed(alone.attacked)
        assert done.notes == alone.notes
    # Six batches; only the first process shows anything.
    shares = {2: 3, 4: 2}
    assert results[0][1][-1] == ("attacking", shares[world])
    assert [shown for _, shown in results[1:]] == [[]] * (world - 1)


def test_more_processes_than_batches_is_no_harm(asked):
    alone = evaluate(replace(asked, batch_size=8))
    for done, _ in run_together(together, replace(asked, batch_size=8), world=3):
        assert untimed(done.result) == untimed(alone.result)


def test_an_unreadable_image_is_everybodys(asked, tmp_path):
    data = write_classes(tmp_path / "data" / "val", {"a": 3, "b": 3, "c": 3}).parent
    bad = truncate(sorted(Path(data).rglob("*.*"))[-1])
    for problem in run_together(together, replace(asked, data=data)):
        assert isinstance(problem, DataError)
        assert "1 of 9 images cannot be read" in problem.message
    skipping = replace(asked, data=data, on_bad_image="skip")
    for done, _ in run_together(together, skipping):
        assert [path for path, _ in done.unreadable] == [bad]
        assert done.result.images == 8


def test_one_device_for_several_processes_is_refused(asked):
    for problem in run_together(together, replace(asked, device="cuda:0")):
        assert isinstance(problem, ArgumentError)
        assert "--device cuda:0 is one device" in problem.message
