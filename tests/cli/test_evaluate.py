import json

import numpy as np
import pytest
import torch
from images import truncate, write_classes

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe
from covtool_cli.main import run

SMALL = InputSpec(size=(32, 32))
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=CLASSES,
        input=SMALL,
        provenance=Provenance(covtool_version="0"),
    )
    return save(model, tmp_path_factory.mktemp("model") / "net.safetensors")


@pytest.fixture
def data(tmp_path):
    write_classes(tmp_path / "data" / "train", dict.fromkeys(CLASSES, 1))
    return write_classes(tmp_path / "data" / "test", {"a": 4, "b": 3, "c": 2}).parent


def _run(capsys, *arguments):
    code = 0
    try:
        run(["evaluate", *map(str, arguments), "--device", "cpu", "-j", "0"])
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


def test_the_figures_are_those_of_the_model_in_the_file(model_path, data, capsys) -> None:
    import covtool

    code, out, _ = _run(capsys, model_path, "--data", data, "--json", "-b", "4")
    assert code == 0
    shown = json.loads(out)
    samples = scan(data).samples("test")
    ((images, labels),) = evaluation_loader(samples, SMALL, workers=0)
    with torch.no_grad():
        expected = covtool.load(model_path)(images).argmax(1)
    assert shown["predictions"] == expected.tolist()
    assert shown["top_1"] == pytest.approx(100 * float((expected == labels).double().mean()))
    assert (shown["split"], shown["images"], shown["top_5"]) == ("test", 9, None)
    assert [row["images"] for row in shown["per_class"]] == [4, 3, 2]


def test_a_person_sees_tables_and_can_choose_the_split(model_path, data, capsys) -> None:
    code, out, _ = _run(capsys, model_path, "--data", data, "--split", "train", "--per-class")
    assert code == 0
    for text in ("top-1", "data, train", "images/s", "accuracy (%)", "predicted as"):
        assert text in out
    code, _, err = _run(capsys, model_path, "--data", data, "--split", "dev")
    assert (code, "no split called 'dev'" in err) == (4, True)


def test_the_input_can_be_told(model_path, data, capsys) -> None:
    told = ("--mean", "0.5", "--std", "0.1,0.2,0.3", "--img-size", "40", "--crop-mode", "squash")
    code, out, _ = _run(capsys, model_path, "--data", data, *told, "--json")
    assert code == 0
    shown = json.loads(out)["input"]
    assert (shown["size"], shown["mean"], shown["std"]) == ([40, 40], [0.5], [0.1, 0.2, 0.3])
    assert shown["crop_mode"] == "squash"


def test_unreadable_images_end_it_or_are_left_out_and_listed(model_path, data, capsys) -> None:
    truncate(data / "test" / "a" / "001.png")
    code, _, err = _run(capsys, model_path, "--data", data)
    assert (code, "1 of 9 images cannot be read" in err) == (4, True)
    code, out, err = _run(capsys, model_path, "--data", data, "--on-bad-image", "skip", "--json")
    assert (code, json.loads(out)["images"], "left out" in err) == (0, 8, True)


def test_data_of_other_classes_is_refused_with_both_lists(model_path, tmp_path, capsys) -> None:
    other = write_classes(tmp_path / "other", {"a": 1, "zebra": 1})
    code, _, err = _run(capsys, model_path, "--data", other)
    assert code == 4
    assert "Model: a, b, c. Data: a, zebra." in err


def test_under_attack_both_figures_are_shown(model_path, data, capsys) -> None:
    told = ("--attack", "pgd", "--eps", "8/255", "--steps", "3", "--attack-seed", "1")
    code, out, _ = _run(capsys, model_path, "--data", data, *told, "--json", "-b", "4")
    assert code == 0
    shown = json.loads(out)
    assert shown["attack"]["attack"] == "pgd"
    assert (shown["attack"]["eps"], shown["attack"]["steps"]) == ("8/255", 3)
    assert float(shown["attack"]["step_size"]) == pytest.approx(2.5 * 8 / 255 / 3)
    assert shown["attacked"]["images"] == shown["images"] == 9
    assert shown["attacked"]["loss"] > shown["loss"]
    assert len(shown["attacked"]["predictions"]) == 9
    clean = json.loads(_run(capsys, model_path, "--data", data, "--json", "-b", "4")[1])
    assert (clean["attack"], clean["attacked"]) == (None, None)
    for figure in ("top_1", "loss", "predictions", "per_class", "notes"):
        assert clean[figure] == shown[figure]
    code, out, _ = _run(capsys, model_path, "--data", data, *told)
    assert code == 0
    assert "top-1 under pgd (eps 8/255, 3 steps)" in out
    code, out, _ = _run(capsys, model_path, "--data", data, "--attack", "fgsm", "--eps", "0.01")
    assert (code, "top-1 under fgsm (eps 0.01)" in out) == (0, True)


def test_json_has_what_the_head_of_the_page_has(
    model_path, data, tmp_path, capsys, monkeypatch
) -> None:
    told = (model_path, "--data", data, "--attack", "fgsm", "--eps", "8/255", "--json")
    shown = json.loads(_run(capsys, *told)[1])
    right, given = np.array(shown["targets"]), np.array(shown["predictions"])
    precisions = [np.mean(right[given == k] == k) if (given == k).any() else 0.0 for k in range(3)]
    recalls = [np.mean(given[right == k] == k) for k in range(3)]
    assert shown["macro"]["precision"] == pytest.approx(100 * np.mean(precisions))
    assert shown["macro"]["recall"] == pytest.approx(100 * np.mean(recalls))
    ranges = shown["ranges"]
    macros = {f"macro_{name}": value for name, value in shown["macro"].items()}
    assert set(ranges) == {"top_1", "nll", *macros}
    for name, value in {**shown, **macros}.items():
        if ranges.get(name) is not None:
            low, high = ranges[name]
            assert low <= value <= high
    assert ranges["top_1"] is not None and ranges["nll"] is not None
    assert set(shown["attacked"]["ranges"]) == {"top_1"}
    # The page has the same ones.
    page = json.loads(_run(capsys, *told, "--report", tmp_path / "page")[1])
    assert page["ranges"] == ranges
    low, high = ranges["top_1"]
    assert f"{low:.2f} to {high:.2f}" in (tmp_path / "page/index.html").read_text()
    # Of very many images they are computed for a page alone, which is said.
    monkeypatch.setattr("covtool_cli.classification_tables.RESAMPLED_AT_MOST", 8)
    many = json.loads(_run(capsys, *told)[1])
    assert (many["ranges"], many["attacked"]["ranges"]) == (None, None)
    assert "Ranges of more than 8 images need --report DIR." in many["notes"]
    assert many["macro"] == shown["macro"]


def test_json_and_terminal_compare_with_another_model(model_path, data, tmp_path, capsys) -> None:
    import covtool

    other = covtool.load(model_path)
    torch.manual_seed(1)
    torch.nn.init.normal_(other.fc.weight)
    path = save(other, tmp_path / "other.safetensors")
    (tmp_path / "strange").mkdir()
    write_classes(tmp_path / "strange", {"zebra": 2})
    alone = json.loads(_run(capsys, path, "--data", data, "--json")[1])
    told = (model_path, "--data", data, "--against", path, "--report", tmp_path / "page")
    code, out, err = _run(
        capsys,
        *(*told, "--attack", "fgsm", "--eps", "8/255", "--json"),
        *("--unknown", tmp_path / "strange"),
    )
    assert code == 0, err
    shown = json.loads(out)
    against, words = shown["against"], " ".join(err.split())
    for figure in ("top_1", "nll", "ece", "macro"):
        assert against[figure] == alone[figure]
    assert against["model"] == str(path)
    assert against["gain"]["points"] == pytest.approx(shown["top_1"] - alone["top_1"])
    pairs = list(zip(shown["targets"], shown["predictions"], alone["predictions"], strict=True))
    only = [sum(a == t != b for t, a, b in pairs), sum(b == t != a for t, a, b in pairs)]
    assert [against["mcnemar"][k] for k in ("only_first", "only_second")] == only
    low, high = against["gain"]["low"], against["gain"]["high"]
    gain = against["gain"]["points"]
    assert f"top-1 {gain:+.2f} points against {path} (95 %: {low:+.2f} to {high:+.2f})" in words
    for start in ("This model was not attacked", "This model was not given the images"):
        assert any(note.startswith(start) for note in against["notes"])
        assert f"note: {path}: {start}" in words
    threshold = shown["unknown"]["doubt"]["threshold"]
    assert 0 < threshold < 1
    code, out, err = _run(capsys, *told, "--overwrite", "--unknown", tmp_path / "strange")
    assert code == 0, err
    assert f"{threshold:.6g}" in out
    plain = ("--data", data, "--json")
    assert json.loads(_run(capsys, model_path, *plain)[1])["against"] is None
    code, out, err = _run(capsys, model_path, *plain, "--against", path)  # without a page
    kept = json.loads(out)["against"]
    assert code == 0, err
    assert [kept[key] for key in ("gain", "mcnemar")] == [against[k] for k in ("gain", "mcnemar")]
    assert f"top-1 {gain:+.2f} points against {path}" in " ".join(err.split())


def test_a_model_without_a_gradient_is_noted(model_path, data, tmp_path, capsys) -> None:
    import covtool

    model = covtool.load(model_path)
    torch.nn.init.zeros_(model.fc.weight)
    flat = save(model, tmp_path / "flat.safetensors")
    told = ("--attack", "fgsm", "--eps", "4/255", "--json")
    code, out, err = _run(capsys, flat, "--data", data, *told)
    note = "The gradient is zero on 100 % of the images: the attack says little about them."
    assert (code, note in json.loads(out)["notes"], note in err) == (0, True, True)
    _, out, _ = _run(capsys, model_path, "--data", data, *told)
    assert not any("gradient" in note for note in json.loads(out)["notes"])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("--attack fgsm --eps abc", "--eps 'abc' is not valid"),
        ("--attack fgsm --eps 0", "above 0 and at most 1"),
        ("--attack fgsm --eps 2", "above 0 and at most 1"),
        ("--attack pgd --eps 4/255 --step-size abc", "--step-size 'abc' is not valid"),
        ("--attack pgd --eps 4/255 --steps 0", "--steps"),
        ("--steps 10", "--steps has no effect without --attack. Add --attack pgd"),
        ("--eps 4/255", "--eps has no effect without --attack"),
        ("--attack pgd", "Add --eps 4/255"),
        ("--attack fgsm --eps 4/255 --steps 3", "--attack fgsm takes no --steps"),
        ("--attack pdg --eps 4/255", "no attack named 'pdg'. Did you mean 'pgd'? Available: fgsm"),
    ],
)
def test_attacks_that_make_no_sense_are_usage_errors(told, message, capsys, tmp_path) -> None:
    net, data = tmp_path / "net.pth", tmp_path / "data"
    net.touch()
    data.mkdir()
    code, out, err = _run(capsys, str(net), "--data", str(data), *told.split())
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_json_has_the_nearest_training_images_of_the_page(
    model_path, data, tmp_path, capsys
) -> None:
    told = (model_path, "--data", data, "--report", tmp_path / "page", "--overwrite", "--json")
    assert json.loads(_run(capsys, *told)[1])["nearest_training"] is None  # the file keeps none
    shown = json.loads(_run(capsys, *told, "--train-data", data)[1])
    found = shown["nearest_training"]
    rows = zip(shown["paths"], shown["targets"], shown["predictions"], strict=True)
    assert {image["path"] for image in found["images"]} == {p for p, t, g in rows if t != g}
    trained = {str(sample.path) for sample in scan(data).samples("train")}
    for image in found["images"]:
        assert {near["path"] for near in image["nearest"]} == trained  # three there are
        cosines = [near["cosine"] for near in image["nearest"]]
        assert cosines == sorted(cosines, reverse=True)
        assert all(near["path"].split("/")[-2] == near["class"] for near in image["nearest"])
    assert found["data"] == "data, train"
