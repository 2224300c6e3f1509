"""The class of each output, as a user meets it: folders by number, names in the file."""

import csv
import json

import pytest
import torch
from checkpoint_files import tiny_model
from images import write_classes

TWELVE = [str(index) for index in range(12)]
QUICK = ("-j", "0", "--device", "cpu", "--img-size", "32")


@pytest.fixture(scope="module")
def network():
    """Twelve outputs, whose biases alone tell the classes apart."""
    return tiny_model(num_classes=12)


@pytest.fixture
def checkpoint(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def evaluated(covtool, *arguments):
    code, out, err = covtool("evaluate", *arguments, *QUICK, "--arch", "test_resnet", "--json")
    assert code == 0, err
    return json.loads(out)


def test_folders_and_labels_by_index_and_padded_ones_give_the_same_figures(
    covtool, checkpoint, tmp_path
):
    plain = write_classes(tmp_path / "plain", dict.fromkeys(TWELVE, 1))
    padded = tmp_path / "padded"
    rows = ["path,label"]
    for name in TWELVE:
        (padded / f"{int(name):02}").mkdir(parents=True)
        for image in (plain / name).iterdir():
            (padded / f"{int(name):02}" / image.name).write_bytes(image.read_bytes())
            rows.append(f"{name}/{image.name},{name}")
    (plain / "labels.csv").write_text("\n".join(rows) + "\n")
    figures = [evaluated(covtool, checkpoint, "--data", d) for d in (plain, padded)]
    figures.append(evaluated(covtool, checkpoint, "--data", plain / "labels.csv"))
    assert {shown["class_order"] for shown in figures} == {"indices"}
    assert len({(shown["top_1"], round(shown["loss"], 5)) for shown in figures}) == 1
    folders = sorted(p.name for p in plain.iterdir() if p.is_dir())
    assert [figures[0]["targets"][folders.index(name)] for name in TWELVE] == list(range(12))


def test_a_guess_is_marked_on_every_figure(covtool, checkpoint, tmp_path):
    data = write_classes(tmp_path / "words", dict.fromkeys("abcdefghijkl", 1))
    told = (checkpoint, "--data", data, *QUICK, "--arch", "test_resnet")
    code, out, err = covtool("evaluate", *told)
    assert code == 0
    assert "note: The model does not name its classes" in err
    guess = "the order of the classes is a guess"
    for figure in ("top-1", "top-5", "loss"):
        assert any(figure in line and guess in line for line in out.splitlines())
    for table in ("Worst classes", "Most confused"):
        assert f"{table} (guessed)" in out
    shown = evaluated(covtool, checkpoint, "--data", data)
    assert shown["class_order"] == "guessed"


def test_names_for_the_outputs_settle_it(covtool, checkpoint, tmp_path):
    data = write_classes(tmp_path / "words", dict.fromkeys("abcdefghijkl", 1))
    (tmp_path / "names.json").write_text(
        json.dumps({c: 11 - i for i, c in enumerate("abcdefghijkl")})
    )
    told = (checkpoint, "--data", data, "--class-names", tmp_path / "names.json")
    shown = evaluated(covtool, *told)
    assert shown["class_order"] == "names"
    assert shown["targets"] == list(range(11, -1, -1))
    (tmp_path / "few.txt").write_text("a\nb\n")
    told = (*told[:-1], tmp_path / "few.txt")
    code, _, err = covtool("evaluate", *told, *QUICK, "--arch", "test_resnet")
    assert (code, "names 2 classes, but the model has 12 outputs" in err) == (4, True)


def test_names_in_the_file_are_used(covtool, network, tmp_path):
    names = {name: 11 - index for index, name in enumerate("abcdefghijkl")}
    content = {"state_dict": network.state_dict(), "class_to_idx": names}
    torch.save(content, tmp_path / "named.pth")
    data = write_classes(tmp_path / "words", dict.fromkeys("acdefghijkl", 1))
    shown = evaluated(covtool, tmp_path / "named.pth", "--data", data)
    assert shown["class_order"] == "names"
    assert shown["targets"] == [11, *range(9, -1, -1)]


def test_another_model_has_classes_of_its_own(covtool, network, tmp_path):
    names = {name: index for index, name in enumerate("abcdefghijkl")}
    data = write_classes(tmp_path / "words", dict.fromkeys(names, 1))
    content = {"state_dict": network.state_dict(), "class_to_idx": names, "arch": "test_resnet"}
    torch.save(content, tmp_path / "named.pth")
    torch.save({**content, "class_to_idx": None}, tmp_path / "plain.pth")
    (tmp_path / "turned.json").write_text(json.dumps({c: 11 - i for c, i in names.items()}))
    told = ("--data", data, "--report", "page", "--overwrite", *QUICK, "--json")
    named, plain = tmp_path / "named.pth", tmp_path / "plain.pth"
    alone = json.loads(covtool("evaluate", named, *told[:-1], "--json")[1])
    # The names of the outputs are those of the first model.
    turned = ("--class-names", tmp_path / "turned.json", "--against", named)
    code, out, err = covtool("evaluate", plain, *turned, *told)
    assert code == 0, err
    assert json.loads(out)["class_order"] == "names"
    with (tmp_path / "page/tables/two-models.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert float(rows["top-1 (%)"]["named.pth"]) == pytest.approx(alone["top_1"])
    # What is not known of the other is said.
    code, out, err = covtool("evaluate", named, "--against", plain, *told)
    assert code == 0, err
    assert f"note: {plain}: Every figure is a guess" in " ".join(err.split())
    assert "(a guess)" in err
    against = json.loads(out)["against"]
    assert (against["model"], against["is_guess"]) == (str(plain), True)
    assert against["notes"][0].startswith("Every figure is a guess")
    page = (tmp_path / "page/index.html").read_text()
    assert "plain.pth: Every figure is a guess" in page
    assert "a guess: which output is which class is not known of both" in page


def test_numbers_from_1_are_refused(covtool, checkpoint, tmp_path):
    data = write_classes(tmp_path / "ones", {str(index): 1 for index in range(1, 13)})
    told = ("evaluate", checkpoint, "--data", data, *QUICK, "--arch", "test_resnet")
    code, out, err = covtool(*told)
    assert (code, out) == (4, "")
    assert "not the indices of the model's 12 outputs" in err


def test_timms_spelling_of_mean_and_deviation_works(covtool, checkpoint, tmp_path):
    data = write_classes(tmp_path / "plain", dict.fromkeys(TWELVE, 1))
    told = ("--mean", "0.5", "0.4", "0.3", "--std", "0.1", "0.2", "0.3")
    shown = evaluated(covtool, *told, checkpoint, "--data", data)["input"]
    assert (shown["mean"], shown["std"]) == ([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])
    code, _, err = covtool("evaluate", checkpoint, "--data", data, "--input-size", "3", "32", "32")
    assert (code, "--img-size 32" in err) == (2, True)
