"""`covtool average` as a user runs it."""

import json

import pytest
from averaged_models import write_variant
from in_process import covtool
from toy_data import write_toy_data
from training_runs import make_request

from covtool.checkpoints.model_file import load
from covtool.training import finetune

HERE = ("-j", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    write_toy_data(folder / "toy", train=4, val=4)
    for number in range(3):
        write_variant(folder, number)
    return folder


@pytest.fixture(scope="module")
def run_folder(folder):
    settings = {"epochs": 3, "experiment": "a", "checkpoint_hist": 5}
    finetune(make_request(folder / "toy", folder / "runs", **settings))
    return next(folder.glob("runs/**/summary.csv")).parent.relative_to(folder)


def test_a_soup_of_three_epochs_of_a_run(folder, run_folder) -> None:
    epochs = [f"{run_folder}@epoch-{n}" for n in (1, 2, 3)]
    done = covtool("average", *epochs, "-o", "soup.safetensors", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "share of a@epoch-2" in done.stdout
    history = load(folder / "soup.safetensors").recipe.provenance.history
    assert history[-1] == "average, uniform: a@epoch-1, a@epoch-2, a@epoch-3"
    pattern = covtool(
        *("average", f"{run_folder}/checkpoints/epoch-*.pt", "-o", "same.safetensors", "--json"),
        cwd=folder,
    )
    found = json.loads(pattern.stdout)
    assert [source["name"] for source in found["sources"]] == [f"epoch-{n}.pt" for n in (1, 2, 3)]
    first, second = (load(folder / f"{name}.safetensors").state_dict() for name in ("soup", "same"))
    assert all(first[key].equal(second[key]) for key in first)


def test_the_line_shows_every_point_and_takes_the_best(folder) -> None:
    ends = ("--between", "net0.safetensors", "net1.safetensors")
    done = covtool(
        *("average", *ends, "--data", "toy", "--steps", 3, "-o", "line.safetensors", *HERE),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    for text in ("Points from the start", "0.5", "taken", "top-1, toy val"):
        assert text in done.stdout
    assert "measure it on other images" in done.stderr


def test_a_greedy_soup_shows_what_each_model_did(folder) -> None:
    models = [f"net{number}.safetensors" for number in range(3)]
    done = covtool(
        *("average", *models, "--greedy", "--data", "toy", "-o", "greedy.safetensors", *HERE),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "top-1 of the soup with it (%)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("net0.safetensors", "net1.safetensors", "--weights", "1,x"), 2, "numbers with commas"),
        (("net0.safetensors", "net1.safetensors", "--weights", "1,2,3"), 2, "3 weights for 2"),
        (("net0.safetensors", "net1.safetensors", "--weights", "nan,1"), 2, "positive numbers"),
        (("net0.safetensors", "net1.safetensors", "--steps", "5"), 2, "--steps is for a line"),
        ((), 2, "no models to average"),
        (("net0.safetensors",), 2, "needs two models"),
        (("net0.safetensors", "gone.safetensors"), 3, "gone.safetensors"),
        (("nothing-*.safetensors", "net0.safetensors"), 3, "No file is called like"),
        (("net0.safetensors", "net1.safetensors", "-o", "soup.onnx"), 2, "soup.onnx"),
        (("net0.safetensors", "net1.safetensors", "--greedy", "--data", "gone"), 4, "gone"),
    ],
)
def test_mistakes_end_with_their_exit_code_and_leave_nothing(
    folder, arguments, code, message
) -> None:
    before = sorted(folder.iterdir())
    done = covtool("average", "-o", "never.safetensors", *arguments, cwd=folder)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert sorted(folder.iterdir()) == before


def test_help_has_fewer_than_25_options() -> None:
    from covtool_cli.commands import average

    parameters = average.command.__signature__.parameters
    assert len(parameters) - len({"ctx", "models"}) < 25


def test_a_state_of_a_run_from_random_weights_is_a_trained_model(folder, run_folder) -> None:
    done = covtool("evaluate", f"{run_folder}@epoch-1", "--data", "toy", *HERE, cwd=folder)
    assert done.returncode == 0, done.stderr
