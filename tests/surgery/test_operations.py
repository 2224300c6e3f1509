"""Every operation of the table obeys the same laws. A new row needs one more example."""

import re
from typing import get_args

import pytest
import torch
from operation_cases import CASES, CLASSES, IMAGES
from tolerances import EXACT
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.errors import ArgumentError
from covtool.specs import EigenlayerSpec, HeadSpec, Operation, Provenance, Recipe
from covtool.specs.operations import stem_of_operations
from covtool.surgery import OPERATIONS
from covtool.surgery.operations import (
    PlanContext,
    operation_record,
    plan_step,
    require_order,
)
from covtool.surgery.rebuild import operate, rebuild

CONTEXT = PlanContext(images=IMAGES)
EVERY = pytest.mark.parametrize("name", OPERATIONS.names)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model: nn.Module, structure: str, before: dict[str, Tensor]) -> None:
    assert repr(model) == structure
    assert tensors(model).keys() == before.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_each_row_has_an_example_and_each_operation_of_a_recipe_has_a_row() -> None:
    assert set(CASES) == set(OPERATIONS.names)
    union, _ = get_args(Operation)
    assert {row.spec for row in OPERATIONS} == set(get_args(union))
    for row in OPERATIONS:
        assert row.spec.model_fields["operation"].default == row.name


@EVERY
def test_plan_changes_nothing(name: str) -> None:
    model = CASES[name].network()
    structure, before = repr(model), tensors(model)
    plan_step(model, CASES[name].spec, CONTEXT)
    assert_unchanged(model, structure, before)


@EVERY
def test_apply_changes_a_copy_and_leaves_the_original(name: str) -> None:
    model = CASES[name].network()
    structure, before = repr(model), tensors(model)
    operated = plan_step(model, CASES[name].spec, CONTEXT).apply(model)
    assert repr(operated) != structure
    assert_unchanged(model, structure, before)
    shared = set(map(id, model.parameters())) & set(map(id, operated.parameters()))
    assert not shared


@EVERY
def test_recipe_of_an_operation_rebuilds_what_it_made(name: str) -> None:
    case = CASES[name]
    model = case.network()
    step = plan_step(model, case.spec, CONTEXT)
    operated = step.apply(model).eval()
    recipe = Recipe(
        base=case.base,
        operations=(step.spec,),
        num_classes=CLASSES,
        input=IMAGES,
        provenance=Provenance(covtool_version="0"),
    )
    again = rebuild(Recipe.model_validate_json(recipe.model_dump_json()))
    assert repr(again) == repr(operated)
    again.load_state_dict(operated.state_dict())
    images = torch.rand(2, 3, *IMAGES.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_close(again(images), operated(images), **EXACT)


@EVERY
def test_planning_what_was_planned_gives_the_same_plan(name: str) -> None:
    model = CASES[name].network()
    step = plan_step(model, CASES[name].spec, CONTEXT)
    recorded = PlanContext(images=IMAGES, num_classes=CLASSES, recorded=True)
    assert plan_step(model, step.spec, recorded).plan == step.plan


@EVERY
def test_gradients_reach_every_weight(name: str) -> None:
    case = CASES[name]
    model = operate(case.network(), case.spec, IMAGES, num_classes=CLASSES).train()
    generator = torch.Generator().manual_seed(0)
    model(torch.rand(4, 3, *IMAGES.size, generator=generator)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@EVERY
def test_phrase_and_part_of_the_file_name_are_words(name: str) -> None:
    assert operation_record(CASES[name].spec).operation == name
    assert re.fullmatch(r"[\w-]+", stem_of_operations([CASES[name].spec]))


@EVERY
def test_summary_is_a_sentence_and_there_is_a_source(name: str) -> None:
    row = OPERATIONS[name]
    assert row.summary[0].isupper()
    assert row.summary.endswith(".")
    assert row.source


@EVERY
def test_what_an_operation_allows_exists_and_the_rest_is_refused(name: str) -> None:
    allowed = OPERATIONS[name].allows
    assert allowed is None or allowed <= set(OPERATIONS.names)
    for later in OPERATIONS.names:
        order = [CASES[name].spec, CASES[later].spec]
        if allowed is None or later in allowed:
            require_order(order)
        else:
            with pytest.raises(ArgumentError, match=f"{later} cannot follow {name}"):
                require_order(order)


def test_order_is_looked_at_beyond_the_neighbor() -> None:
    head, eigenlayer = HeadSpec(), EigenlayerSpec(features=4)
    with pytest.raises(ArgumentError, match="head cannot follow eigenlayer"):
        require_order([eigenlayer, head, head])
    require_order([head, head, eigenlayer])


def test_file_name_has_operators_first_and_the_eigenlayer_last() -> None:
    order = [CASES[name].spec for name in ("last-stride", "head", "conv", "eigenlayer")]
    assert stem_of_operations(order) == "tanh-isqrt-eigen4"
    assert stem_of_operations(order[:1]) == "converted"
