"""From a file to a file, as `covtool convert` does it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_data import write_toy_data

import covtool
from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints import verifying
from covtool.conversion import ConversionRequest, convert, plan_conversion
from covtool.errors import ArgumentError, DataError, OutputExistsError, VerificationError
from covtool.evaluation.classification.accuracy import evaluate_classification
from covtool.specs import ConvertSpec, EigenlayerSpec, HeadSpec, LastStrideSpec, ModelSource
from covtool_cli.main import run

HEAD = HeadSpec(dim=8)
SIZE = {"size": (96, 96)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "test_resnet.pth"
    torch.save(create_model(parse_name("test_resnet")[0], num_classes=1000).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("colors"))


@pytest.fixture
def request_for(checkpoint: Path, tmp_path: Path):
    def make(*operations, **settings) -> ConversionRequest:
        settings = {"output": tmp_path / "out.safetensors", "workers": 0, **settings}
        return ConversionRequest(
            source=ModelSource(name=str(checkpoint), input=SIZE),
            operations=operations or (HEAD,),
            **settings,
        )

    return make


def test_plan_writes_nothing_and_says_what_would_change(request_for, tmp_path: Path) -> None:
    plan = plan_conversion(request_for())
    assert list(tmp_path.iterdir()) == []
    assert [change.path for change in plan.changes] == ["global_pool", "fc"]
    assert plan.keys.resized == ("fc.weight",)
    assert all(name.startswith("global_pool.reduction") for name in plan.keys.new)
    assert plan.after != plan.before
    assert any("starts at random" in note for note in plan.notes)
    assert plan.recipe.provenance.source_sha256


def test_untouched_tensors_are_those_of_the_source_file(request_for, checkpoint: Path) -> None:
    result = convert(request_for())
    source, written = torch.load(checkpoint), load_file(result.path)
    untouched = [name for name in source if not name.startswith("fc.")]
    assert result.untouched == len(untouched)
    for name in untouched:
        assert torch.equal(source[name], written[name]), name


def test_average_of_an_averaging_network_keeps_the_classifier_where_the_classes_stay(
    request_for, checkpoint: Path
) -> None:
    result = convert(request_for(HeadSpec(head="gap")))
    source, written = torch.load(checkpoint), load_file(result.path)
    assert source.keys() == written.keys()
    assert all(torch.equal(source[name], written[name]) for name in source)
    assert result.untouched == len(source)
    assert (result.plan.changes, result.plan.random) == ((), ())
    assert not any("random" in note for note in result.plan.notes)


@pytest.mark.parametrize(
    ("operation", "settings", "random"),
    [
        (HeadSpec(head="gap"), {"spec": ConvertSpec(num_classes=3)}, ("fc",)),
        (HEAD, {}, ("global_pool.reduction", "fc")),
        (HEAD.model_copy(update={"fuse": "gap"}), {}, ("global_pool.second_order.reduction",)),
        (HeadSpec(head="cov", reduction="none"), {}, ("fc",)),
        (EigenlayerSpec(features=4, init="random"), {}, ("fc",)),
        (EigenlayerSpec(features=4), {}, ()),
    ],
    ids=str,
)
def test_what_starts_at_random_is_named(request_for, operation, settings, random) -> None:
    assert plan_conversion(request_for(operation, **settings)).random == random


def test_calibrated_head_has_nothing_random_and_no_kept_classifier(request_for, colors) -> None:
    plan = convert(request_for(HeadSpec(head="gap"), calibrate_with=colors)).plan
    assert plan.random == ()
    assert not any(name.startswith("fc.") for name in plan.keys.kept)


def test_new_classifier_of_the_same_shape_is_not_counted_as_kept(
    request_for, colors, tmp_path: Path
) -> None:
    three = convert(request_for(HeadSpec(head="gap"), calibrate_with=colors)).path
    request = replace(
        request_for(HeadSpec(head="gap")),
        source=ModelSource(name=str(three), input=SIZE),
        overwrite=True,
    )
    assert plan_conversion(request).random == ()
    others = write_toy_data(tmp_path / "others", train=2, val=1, colors=("red", "blue"))
    (others / "train" / "white").mkdir()
    shutil.copy(others / "train" / "red" / "0.png", others / "train" / "white")
    plan = plan_conversion(replace(request, classes_from=others))
    assert plan.random == ("fc",)
    assert plan.keys.changed == ("fc.weight", "fc.bias")


def test_command_says_on_stdout_what_starts_at_random(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = ["-o", str(tmp_path / "a.safetensors"), "--img-size", "96"]
    with pytest.raises(SystemExit):
        run(["convert", str(checkpoint), "--dim", "8", "--plan", *output])
    assert "starts at random" in (shown := capsys.readouterr().out)
    assert "global_pool.reduction, fc" in shown
    with pytest.raises(SystemExit):
        run(["convert", str(checkpoint), "--head", "gap", "--plan", "--json", *output])
    told = json.loads(capsys.readouterr().out)
    assert told["random"] == []
    assert "fc.weight" in told["keys"]["kept"]


def test_file_with_the_network_s_own_average_gets_another_head(request_for, tmp_path: Path) -> None:
    averaged = convert(request_for(HeadSpec(head="gap"))).path
    request = ConversionRequest(
        source=str(averaged), operations=(HEAD,), output=tmp_path / "root.safetensors"
    )
    [head] = covtool.load(convert(request).path).recipe.operations
    assert head.head == "isqrt"


def test_same_seed_gives_the_same_file_and_another_one_does_not(request_for, tmp_path) -> None:
    written = [
        convert(
            request_for(output=tmp_path / f"{turn}.safetensors", spec=ConvertSpec(seed=seed))
        ).path.read_bytes()
        for turn, seed in enumerate((0, 0, 1))
    ]
    assert written[0] == written[1] != written[2]


def test_calibrated_file_knows_classes_data_and_its_own_estimate(request_for, colors) -> None:
    result = convert(request_for(calibrate_with=colors))
    model = covtool.load(result.path)
    assert model.recipe.class_names == ("blue", "green", "red")
    assert model.recipe.operations[0].reduction == "linear"
    [metric] = model.recipe.provenance.metrics
    assert metric.name == "left_out_top_1"
    assert metric.value == result.calibration.left_out_top_1


def test_calibrated_average_pooling_tells_colors_apart_without_training(
    request_for, colors
) -> None:
    from covtool.data.datasets.reading import scan
    from covtool.data.loading.loaders import evaluation_loader

    result = convert(request_for(HeadSpec(head="gap"), calibrate_with=colors))
    model = covtool.load(result.path)
    layout = scan(colors)
    loader = evaluation_loader(layout.samples("val"), model.recipe.input, workers=0)
    measured = evaluate_classification(model, loader, class_names=layout.class_names)
    assert measured.top_1 == 100
    assert result.calibration.left_out_top_1 > 95


def test_at_most_so_many_images_calibrate(request_for, colors) -> None:
    spec = ConvertSpec(calibrate_images=9)
    result = convert(request_for(HeadSpec(head="gap"), calibrate_with=colors, spec=spec))
    assert result.calibration.images == 9


def test_too_few_images_for_each_class_are_refused_or_noted(request_for, tmp_path, colors) -> None:
    classes = len(list((colors / "train").iterdir()))
    few = {"calibrate_with": colors, "spec": ConvertSpec(calibrate_images=classes)}
    notes = plan_conversion(request_for(HeadSpec(head="gap"), **few)).notes
    assert any(f"{classes} of {classes} classes have a single" in note for note in notes)
    more = tmp_path / "more"
    shutil.copytree(colors / "train" / "red", more / "train" / "another")
    shutil.copytree(colors, more, dirs_exist_ok=True)
    with pytest.raises(ArgumentError, match="would never be recognized"):
        plan_conversion(request_for(HeadSpec(head="gap"), **{**few, "calibrate_with": more}))


def test_operations_are_recorded_in_order(request_for) -> None:
    result = convert(request_for(LastStrideSpec(), HEAD))
    recipe = covtool.load(result.path).recipe
    assert [o.operation for o in recipe.operations] == ["last-stride", "head"]


def test_recipe_of_one_file_can_be_applied_to_another_checkpoint(
    request_for, tmp_path: Path, checkpoint: Path
) -> None:
    plan = plan_conversion(request_for(LastStrideSpec(), HEAD))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(plan.recipe.model_dump_json())
    with pytest.raises(SystemExit) as ended:
        run(["convert", str(checkpoint), "--recipe", str(recipe), "--img-size", "96",
             "-o", str(tmp_path / "again.safetensors")])  # fmt: skip
    assert ended.value.code == 0
    again = covtool.load(tmp_path / "again.safetensors").recipe
    assert again.operations == plan.recipe.operations


def test_a_mismatch_leaves_no_file(request_for, tmp_path: Path, monkeypatch) -> None:
    network = create_model(parse_name("test_resnet")[0], num_classes=1)
    name = next(iter(network.state_dict()))

    def damaged(path):
        model = covtool.load(path)
        with torch.no_grad():
            model.get_parameter(name).view(-1)[0] += 1e-3
        return model

    monkeypatch.setattr(verifying, "load", damaged)
    with pytest.raises(VerificationError, match="differs from the source"):
        convert(request_for())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"operations": ()}, ArgumentError, "nothing to do"),
        ({"output": Path("no/such/folder/x.safetensors")}, ArgumentError, "no folder"),
        ({"calibrate_with": Path("missing")}, DataError, "no data set at missing"),
    ],
)
def test_what_cannot_be_done_is_refused(checkpoint, settings, error, message) -> None:
    settings = {"operations": (HEAD,), "output": Path("x.safetensors"), **settings}
    with pytest.raises(error, match=message):
        convert(ConversionRequest(source=ModelSource(name=str(checkpoint), input=SIZE), **settings))


def test_classes_and_their_number_must_agree(request_for, colors) -> None:
    with pytest.raises(ArgumentError, match="which has 3 classes"):
        plan_conversion(request_for(classes_from=colors, spec=ConvertSpec(num_classes=7)))


def test_command_prints_one_json_object(checkpoint, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["convert", str(checkpoint), "--dim", "8", "--img-size", "96", "--plan", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["head"]["pooled_features"] == 36


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--head", "isqr"], 2, "Did you mean 'isqrt'"),
        (["--tap", "layer9"], 2, "no feature map named 'layer9'"),
        (["--dim", "0"], 2, "--dim"),
        (["--head-lr", "1"], 2, "No such option"),
    ],
)
def test_mistakes_get_an_exit_code_and_a_way_out(
    arguments, code, told, checkpoint, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(["convert", str(checkpoint), "--img-size", "96", *arguments])
    assert ended.value.code == code
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept(request_for, tmp_path) -> None:
    (tmp_path / "out.safetensors").write_bytes(b"precious")
    with pytest.raises(OutputExistsError):
        convert(request_for())
    assert (tmp_path / "out.safetensors").read_bytes() == b"precious"
