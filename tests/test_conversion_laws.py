"""Laws of a conversion: it does what its plan says; an order of operations is kept or refused."""

from itertools import pairwise, permutations, product
from pathlib import Path

import pytest
import torch
from operation_cases import CASES, IMAGES, RESNET, VIT
from safetensors.torch import load_file
from tolerances import EXACT
from torch import nn
from torch.testing import assert_close
from toy_data import write_toy_data

import covtool
from covtool.backbones.create import create_model
from covtool.conversion import (
    ConversionRequest,
    ConversionResult,
    convert,
    plan_conversion,
    verifying,
)
from covtool.errors import ArgumentError, SurgeryError
from covtool.specs import HeadSpec, ModelSource, Operation, Recipe
from covtool.surgery import OPERATIONS
from covtool.surgery.rebuild import rebuild
from covtool.variants import HEADS

HEAD_CASES = {
    name: HeadSpec(
        head=name,
        dim=8,
        **({"sketch_size": 64} if "sketch_size" in HEADS[name].options else {}),
    )
    for name in HEADS.names
}
ON_A_RESNET = tuple(name for name in OPERATIONS.names if CASES[name].base == RESNET)
ON_A_TRANSFORMER = ("patch-stride", "head", "neck", "eigenlayer")
REFUSED = {
    **{(name, name): "already" for name in ("ibn", "stem", "conv", "head", "neck")},
    **{("eigenlayer", name): "cannot follow eigenlayer" for name in OPERATIONS.names},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for base in (RESNET, VIT):
        torch.manual_seed(0)
        torch.save(create_model(base, num_classes=10).state_dict(), folder / f"{base.name}.pth")
    return {base.name: folder / f"{base.name}.pth" for base in (RESNET, VIT)}


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("colors"), train=4, val=2)


def asked(source: Path, output: Path, *operations: Operation, **settings) -> ConversionRequest:
    return ConversionRequest(
        source=ModelSource(name=str(source), input={"size": IMAGES.size}),
        operations=operations,
        output=output / "out.safetensors",
        overwrite=True,
        workers=0,
        device="cpu",
        **settings,
    )


def without_findings(recipe: Recipe) -> Recipe:
    """The recipe without what a calibration measures and chooses: no plan knows that."""
    provenance = recipe.provenance.model_copy(update={"metrics": ()})
    return recipe.model_copy(update={"provenance": provenance, "scores": None})


def assert_as_planned(request: ConversionRequest) -> None:
    plan, done = plan_conversion(request), convert(request)
    assert plan.recipe == done.plan.recipe
    recipe = covtool.load(done.path).recipe
    assert without_findings(recipe) == plan.recipe
    assert recipe.scores == done.scores
    assert plan == done.plan


@pytest.mark.parametrize("name", OPERATIONS.names)
def test_an_operation_is_done_as_planned(name: str, checkpoints, tmp_path: Path) -> None:
    case = CASES[name]
    assert_as_planned(asked(checkpoints[case.base.name], tmp_path, case.spec))


@pytest.mark.parametrize("name", HEADS.names)
def test_a_head_is_put_in_as_planned(name: str, checkpoints, tmp_path: Path) -> None:
    assert_as_planned(asked(checkpoints["test_resnet"], tmp_path, HEAD_CASES[name]))


@pytest.mark.parametrize(
    "names",
    [("head",), ("conv",), ("head", "eigenlayer"), ("last-stride", "conv", "head", "eigenlayer")],
    ids="+".join,
)
def test_a_calibration_is_done_as_planned(names, checkpoints, colors, tmp_path: Path) -> None:
    operations = [CASES[name].spec for name in names]
    request = asked(checkpoints["test_resnet"], tmp_path, *operations, calibrate_with=colors)
    assert_as_planned(request)


def assert_round_trip(done: ConversionResult) -> None:
    """The file gives its model again, and its recipe alone the structure."""
    model = covtool.load(done.path)
    images = torch.rand(2, 3, *IMAGES.size, generator=torch.Generator().manual_seed(0))
    again = rebuild(Recipe.model_validate_json(model.recipe.model_dump_json()))
    again.load_state_dict(load_file(done.path))
    with torch.no_grad():
        assert_close(again(images), model(images), **EXACT)


@pytest.fixture
def reopened(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Models that conversions read from their own files, and compare with what they wrote."""
    read = verifying.reopened
    found: list[nn.Module] = []
    monkeypatch.setattr(verifying, "reopened", lambda path: found.append(read(path)) or found[-1])
    return found


def kept_or_refused(
    order: tuple[str, ...], source: Path, output: Path, reopened: list[nn.Module]
) -> None:
    reopened.clear()
    request = asked(source, output, *(CASES[name].spec for name in order))
    message = next((REFUSED[pair] for pair in pairwise(order) if pair in REFUSED), None)
    if message is None:
        done = convert(request)
        kinds = [operation.operation for operation in done.plan.recipe.operations]
        assert kinds == list(order)
        assert [model.recipe for model in reopened] == [done.plan.recipe]
    else:
        with pytest.raises((ArgumentError, SurgeryError), match=message) as refused:
            convert(request)
        assert refused.value.hint


@pytest.mark.parametrize("first", ON_A_RESNET)
def test_every_pair_is_kept_or_refused(first: str, checkpoints, reopened, tmp_path: Path) -> None:
    for pair in product([first], ON_A_RESNET):
        kept_or_refused(pair, checkpoints["test_resnet"], tmp_path, reopened)


@pytest.mark.parametrize("other", ON_A_TRANSFORMER)
def test_every_pair_with_overlapping_patches_is_kept_or_refused(
    other: str, checkpoints, reopened, tmp_path: Path
) -> None:
    for pair in {("patch-stride", other), (other, "patch-stride")}:
        kept_or_refused(pair, checkpoints["test_vit"], tmp_path, reopened)


# Every pair is tested above; of three, an order and its reverse are quick.
ORDERS = [*permutations(["last-stride", "conv", "head"])]


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=[pytest.mark.slow] * (order not in (ORDERS[0], ORDERS[-1])))
        for order in ORDERS
    ],
    ids="+".join,
)
def test_what_the_command_can_do_at_once_may_come_in_any_order(
    order: tuple[str, ...], checkpoints, reopened, tmp_path: Path
) -> None:
    kept_or_refused((*order, "eigenlayer"), checkpoints["test_resnet"], tmp_path, reopened)


def test_order_of_the_table_is_one_that_can_be_done(checkpoints, reopened, tmp_path: Path) -> None:
    kept_or_refused(ON_A_RESNET, checkpoints["test_resnet"], tmp_path, reopened)


@pytest.mark.parametrize(
    ("base", "order"),
    [(RESNET, ON_A_RESNET), (VIT, ("patch-stride", "head", "eigenlayer"))],
    ids=["resnet", "transformer"],
)
def test_recipe_alone_gives_the_structure(base, order, checkpoints, tmp_path: Path) -> None:
    operations = [CASES[name].spec for name in order]
    assert_round_trip(convert(asked(checkpoints[base.name], tmp_path, *operations)))


def test_a_converted_file_can_be_converted_again(checkpoints, tmp_path: Path) -> None:
    first = convert(asked(checkpoints["test_resnet"], tmp_path, CASES["last-stride"].spec)).path
    moved = first.rename(tmp_path / "first.safetensors")
    for name in ("conv", "head", "eigenlayer"):
        kept = convert(asked(moved, tmp_path, CASES[name].spec)).plan.recipe.operations
        assert [operation.operation for operation in kept] == ["last-stride", name]
