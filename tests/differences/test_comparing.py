"""Differences between models, each made on purpose."""

import pytest
import torch
from averaged_models import SMALL, make_variant, write_variant
from code_base_layouts import LAYOUTS
from hypothesis import given
from hypothesis import strategies as st

from covtool.checkpoints.model_file import load, save
from covtool.differences import compare
from covtool.differences.sides import StreamedTensors
from covtool.differences.tensors import compare_tensors, grouped
from covtool.errors import CheckpointError
from covtool.specs import HeadSpec, Metric, ScoreSpec
from covtool.specs.provenance import ConversionStep, TrainingStep
from covtool.surgery import apply_head, plan_head

CONVERTED = ConversionStep(source="a.pth")
TRAINED = TrainingStep(command="finetune", data="toy", epochs=2, planned_epochs=2, opt="sgd")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a").mkdir()
    return write_variant(tmp_path / "a", steps=(CONVERTED,))


def changed(tmp_path, change, **changes):
    """A copy of the model of number 0 that `change` was done to."""
    model = make_variant(0, steps=(CONVERTED,), **changes)
    change(model)
    return save(model, tmp_path / "b.safetensors")


def nothing(model):
    pass


def recipe_with(**fields):
    def change(model):
        model.recipe = model.recipe.model_copy(update=fields)

    return change


def kinds(found):
    return {one.name: one.kind for one in found.tensors if one.kind != "equal"}


def test_a_copy_does_not_differ(file, tmp_path) -> None:
    found = compare(str(file), str(changed(tmp_path, nothing)))
    assert not found.differs
    assert (found.recipe.fields, kinds(found), found.notes) == ((), {}, ())


def test_the_change_of_a_tensor_is_measured(file, tmp_path) -> None:
    def change(model):
        model.fc.weight.data[1, 2] += 0.5

    found = compare(str(file), str(changed(tmp_path, change)))
    assert kinds(found) == {"fc.weight": "changed"}
    (one,) = (one for one in found.tensors if one.kind == "changed")
    before, after = (
        load(path).fc.weight.detach().double() for path in (file, tmp_path / "b.safetensors")
    )
    assert one.relative == pytest.approx(float((after - before).norm() / before.norm()))
    assert one.largest == pytest.approx(float((after - before).abs().max()))
    assert found.differs
    assert not found.recipe.differs


def test_another_dtype_of_equal_values_is_not_a_change(file, tmp_path) -> None:
    other = changed(tmp_path, lambda model: model.double())
    found = compare(str(file), str(other))
    assert set(kinds(found).values()) == {"dtype"}
    (weight,) = (one for one in found.tensors if one.name == "fc.weight")
    assert (weight.before[:7], weight.after[:7]) == ("float32", "float64")
    assert found.differs


def test_another_number_of_classes_is_another_shape_and_other_classes(file, tmp_path) -> None:
    other = changed(tmp_path, nothing, num_classes=2, class_names=("green", "pink"))
    found = compare(str(file), str(other))
    assert kinds(found)["fc.bias"] == "shape"
    assert [(one.field, one.before, one.after) for one in found.recipe.fields] == [
        ("num_classes", 3, 2)
    ]
    assert found.recipe.classes.gone == ("blue", "red")
    assert found.recipe.classes.new == ("pink",)
    assert found.recipe.classes.moved == ("green",)


def test_another_order_of_classes_is_said_by_those_that_moved(file, tmp_path) -> None:
    other = changed(tmp_path, nothing, class_names=("green", "blue", "red"))
    found = compare(str(file), str(other)).recipe
    assert (found.classes.gone, found.classes.new) == ((), ())
    assert found.classes.moved == ("blue", "green")


RECIPES = {
    "input": (
        recipe_with(input=SMALL.model_copy(update={"crop_pct": 1.0})),
        [("input.crop_pct", 0.875, 1.0)],
    ),
    "no names": (recipe_with(class_names=None), [("class_names", "known", "not known")]),
    "scores": (
        recipe_with(scores=ScoreSpec(temperature=2, method="validation", data="d", images=1)),
        [
            (
                "scores",
                None,
                {
                    "temperature": 2.0,
                    "method": "validation",
                    "data": "d",
                    "images": 1,
                    "is_bounded": False,
                },
            )
        ],
    ),
}


@pytest.mark.parametrize("case", RECIPES)
def test_fields_of_recipes_that_differ_are_listed_with_both_values(file, tmp_path, case) -> None:
    change, expected = RECIPES[case]
    found = compare(str(file), str(changed(tmp_path, change))).recipe
    assert [(one.field, one.before, one.after) for one in found.fields] == expected


def test_metrics_and_history_say_what_came_later(file, tmp_path) -> None:
    def change(model):
        metric = Metric(name="top_1", value=50.0, data="toy val", images=4)
        after = model.recipe.provenance.with_step(TRAINED, metrics=(metric,))
        model.recipe = model.recipe.model_copy(update={"provenance": after})

    found = compare(str(file), str(changed(tmp_path, change))).recipe
    assert [(one.field, one.after) for one in found.fields] == [("metrics.top_1 on toy val", 50.0)]
    assert (found.history.shared, found.history.before) == (1, ())
    assert found.history.after[0].startswith("finetune on toy")


def test_another_head_is_new_tensors_and_an_operation(file, tmp_path) -> None:
    model = make_variant(0, steps=(CONVERTED,))
    plan = plan_head(model, HeadSpec(head="isqrt", dim=8), SMALL, num_classes=3)
    operated = apply_head(model, plan)
    operated.recipe = model.recipe.model_copy(update={"operations": (plan.spec,)})
    found = compare(str(file), str(save(operated, tmp_path / "head.safetensors")))
    (operation,) = found.recipe.fields
    assert (operation.field, operation.before) == ("operations", None)
    assert operation.after.startswith("head")
    assert "new" in kinds(found).values()
    assert kinds(found)["fc.weight"] == "shape"


def test_a_foreign_checkpoint_is_compared_by_what_it_holds(file, tmp_path) -> None:
    state = {f"module.{k}": v for k, v in load(file).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    found = compare(str(tmp_path / "net.pth"), str(file))
    assert kinds(found) == {}
    assert any("was recognized; the file does not say it" in note for note in found.notes)
    state["module.other.weight"] = torch.zeros(2)
    torch.save({"head.a": torch.zeros(3)}, tmp_path / "odd.pth")
    odd = compare(str(tmp_path / "odd.pth"), str(file))
    assert odd.recipe is None
    assert kinds(odd)["head.a"] == "gone"
    assert any("no tensor of the same name" in note for note in odd.notes)


def test_tensors_of_another_code_base_are_compared_under_the_networks_names(tmp_path) -> None:
    write = next(row.write for row in LAYOUTS if row.code_base == "transformers-mobilenet-v2")
    model = make_variant(0, name="mobilenetv2_050", num_classes=1000, class_names=None)
    state = write(model.state_dict())
    assert len(state.keys() & model.state_dict().keys()) == 2  # the classifier's
    torch.save(state, tmp_path / "other.pth")
    with torch.no_grad():
        model.conv_stem.weight[0] += 1
    found = compare(str(tmp_path / "other.pth"), str(save(model, tmp_path / "net.safetensors")))
    assert {key: kind for key, kind in kinds(found).items() if "num_batches" not in key} == {
        "conv_stem.weight": "changed"
    }
    assert "other.pth are called as in mobilenetv2_050." in " ".join(found.notes)


def test_streamed_tensors_are_those_of_the_file(file) -> None:
    streamed, state = StreamedTensors(file), load(file).state_dict()
    assert set(streamed) == set(state)
    assert len(streamed) == len(state)
    assert all(torch.equal(streamed[name], state[name]) for name in state)


def test_a_flipped_bit_is_damage_and_no_difference(file, tmp_path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    (tmp_path / "b.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        compare(str(file), str(tmp_path / "b.safetensors"))


def test_values_that_are_not_numbers_are_equal_in_the_same_places() -> None:
    one = {"a": torch.tensor([1.0, float("nan")]), "b": torch.tensor([1.0, float("inf")])}
    assert {one.kind for one in compare_tensors(one, dict(one))} == {"equal"}
    other = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, 2.0])}
    for found in compare_tensors(one, other):
        assert (found.kind, found.relative, found.largest) == ("changed", None, None)


def test_large_whole_numbers_are_compared_exactly() -> None:
    one, two = ({"n": torch.tensor(2**60 + extra)} for extra in (0, 1))
    (found,) = compare_tensors(one, two)
    assert found.kind == "changed"


def test_empty_tensors_are_equal() -> None:
    (found,) = compare_tensors({"a": torch.zeros(0, 3)}, {"a": torch.zeros(0, 3)})
    assert found.kind == "equal"


NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(".".join)


@given(st.sets(NAMES, min_size=1, max_size=20), st.integers(1, 30))
def test_groups_hold_every_tensor_once(names, most) -> None:
    found = compare_tensors({name: torch.ones(2) for name in names}, {})
    groups = grouped(found, most)
    assert sum(sum(group.counts.values()) for group in groups) == len(names)
    assert len({group.name for group in groups}) == len(groups)
