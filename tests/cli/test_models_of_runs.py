"""Every command that takes a model takes a run of covtool's, by all its names, or says why not."""

import shutil
from pathlib import Path

import pytest
import torch
from in_process import covtool as run_covtool
from svdnet_training import write_data, write_eigen_model
from toy_data import write_toy_data

import covtool as library

QUICK = ("-j", "0", "--device", "cpu")

MODEL_TAKERS = {
    "inspect": ("inspect", "{}"),
    "convert": ("convert", "{}", "--head", "gap", "--plan"),
    "finetune": ("finetune", "{}", "--data", "toy", *QUICK, "--dry-run"),
    "evaluate": ("evaluate", "{}", "--data", "toy", *QUICK),
    "embed": ("embed", "{}", "toy", "-o", "f.npz", "--overwrite", *QUICK),
}
INITIAL = {
    "--init-from": ("--init-from", "{}"),
    "MODEL --init-from": ("test_resnet", "--from-scratch", "--init-from", "{}"),
}
TAKERS = {
    **MODEL_TAKERS,
    **{
        name: ("finetune", *words, "--data", "toy", "--img-size", "32", *QUICK, "--dry-run")
        for name, words in INITIAL.items()
    },
}
"""Commands with the place of a model; each ends with code 0 if it takes it."""

RUN = "runs/finetune/a"
FORMS = {
    "folder": RUN,
    "trailing slash": f"{RUN}/",
    "dots": f"./{RUN}/../a",
    "link": "link",
    "last": f"{RUN}@last",
    "best": f"{RUN}@best",
    "epoch": f"{RUN}@epoch-1",
    "slash and last": f"{RUN}/@last",
    "last and slash": f"{RUN}@last/",
    "link and last": "link@last",
    "state": f"{RUN}/checkpoints/last.pt",
    "state of an epoch": f"{RUN}/checkpoints/epoch-1.pt",
    "without exported": "bare",
    "last without exported": "bare@last",
}
NO_FORMS = {
    "no such model": (f"{RUN}@worst", "no model called worst", "@last"),
    "no choice": (f"{RUN}@", "a@", ""),
    "no run": ("empty", "is a folder, neither a checkpoint nor a run", "Name a file"),
    "last of no run": ("empty@last", "neither a file nor the name", ""),
    "a folder of runs": ("runs/finetune", "neither a checkpoint nor a run", "In it are runs:"),
    "its exported models": (f"{RUN}/exported", "is a folder", "best.safetensors"),
    "its states": (f"{RUN}/checkpoints", "is a folder", "best.pt"),
    "still in its first epoch": ("early", "no exported model yet", "early/checkpoints/last.pt"),
    "just started": ("started", "no exported model yet", "--resume "),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train for two epochs, and make runs that lack something of it."""
    root = tmp_path_factory.mktemp("models")
    write_toy_data(root / "toy", train=4, val=2)
    done = run_covtool(
        *("finetune", "test_resnet", "--from-scratch", "--data", "toy", "--img-size", "32"),
        *("--epochs", "2", "--model-ema", "--experiment", "a", "--output", "runs", *QUICK),
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    (root / "link").symlink_to(RUN)
    (root / "empty").mkdir()
    run = root / RUN
    if not (run / "checkpoints/epoch-1.pt").exists():  # the best epoch is the one that is kept
        (run / "checkpoints/epoch-1.pt").hardlink_to(run / "checkpoints/best.pt")
    for name in ("bare", "early", "started"):
        shutil.copytree(run, root / name)
        shutil.rmtree(root / name / "exported")
    for file in (root / "early/checkpoints").iterdir():
        if file.name != "last.pt":
            file.unlink()
    (root / "early/exported").mkdir()
    shutil.rmtree(root / "started/checkpoints")
    return root


ALL_FORMS = ("inspect", "--init-from")
"""One command for each way of resolving names: the others resolve theirs like `inspect`."""

SOME_FORMS = ("folder", "link and last", "last and slash", "state of an epoch", "without exported")


@pytest.mark.parametrize("taker", TAKERS)
def test_a_run_is_taken_by_any_of_its_names(folder, taker):
    for form, name in FORMS.items():
        if taker not in ALL_FORMS and form not in SOME_FORMS:
            continue
        done = run_covtool(*[word.format(name) for word in TAKERS[taker]], cwd=folder)
        assert done.returncode == 0, (form, done.stderr)
        assert "unexpected error" not in done.stderr, form


@pytest.mark.parametrize("taker", MODEL_TAKERS)
def test_what_is_no_model_of_a_run_is_refused_with_what_to_do(folder, taker):
    for form, (name, words, hint) in NO_FORMS.items():
        done = run_covtool(*[word.format(name) for word in TAKERS[taker]], cwd=folder)
        assert (done.returncode, done.stdout) == (3, ""), form
        said = " ".join(done.stderr.split())
        assert words in said, form
        assert hint in said, form


@pytest.mark.parametrize("taker", INITIAL)
def test_weights_to_start_from_are_refused_alike(folder, taker):
    for form in ("no such model", "no run", "a folder of runs", "just started"):
        done = run_covtool(*[w.format(NO_FORMS[form][0]) for w in TAKERS[taker]], cwd=folder)
        assert done.returncode in (2, 3), form
        assert "no model called" in done.stderr or "not the folder of a run" in done.stderr, form


def test_the_library_loads_what_open_model_opens(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for form, name in FORMS.items():
        loaded, opened = library.load(name), library.open_model(name).model
        assert loaded.recipe == opened.recipe, form
        assert loaded.class_names == ("blue", "green", "red"), form
        assert loaded.transform == opened.transform, form
        for key, tensor in opened.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), form


@pytest.mark.parametrize("form", ["no such model", "no run", "just started"])
def test_the_library_refuses_alike(folder, monkeypatch, form):
    monkeypatch.chdir(folder)
    name, words, _ = NO_FORMS[form]
    with pytest.raises(library.errors.CheckpointError, match=words):
        library.load(name)


def test_what_is_made_from_a_chosen_model_does_not_take_its_name(folder):
    words = ("finetune", f"{RUN}@last", "--data", "toy", *QUICK, "--epochs", "1")
    done = run_covtool(*words, "--output", "others", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "others/finetune/a-last/exported").is_dir()
    arguments = (folder / "others/finetune/a-last/args.yaml").read_text()
    assert f"model: {folder.resolve() / RUN}@last" in arguments  # whatever folder it resumes in
    shown = run_covtool("convert", f"{RUN}@last", "--head", "gap", "--plan", cwd=folder).stdout
    assert "would write a-last-gap.safetensors" in shown


@pytest.mark.parametrize("weights", ["raw", "ema", "student"])
def test_a_set_of_weights_is_chosen_in_a_state_and_not_in_an_exported_file(folder, weights):
    words = ("toy", "-o", "f.npz", "--overwrite", *QUICK, "--weights", weights)
    done = run_covtool("embed", RUN, *words, cwd=folder)
    assert (done.returncode, "nothing to choose" in done.stderr) == (2, True)
    assert "checkpoints/best.pt has all sets" in done.stderr
    state = f"{RUN}/checkpoints/best.pt"
    done = run_covtool("embed", state, *words, cwd=folder)
    assert (done.returncode == 0) == (weights != "student"), done.stderr


def test_a_state_of_a_trained_run_is_measured_and_answers_as_its_exported_file(folder):
    found = [
        run_covtool("evaluate", name, "--data", "toy", *QUICK, "--json", cwd=folder).stdout
        for name in (f"{RUN}@last", f"{RUN}/checkpoints/last.pt")
    ]
    accuracies = [line for out in found for line in out.splitlines() if '"loss"' in line]
    assert len(accuracies) == 2
    assert accuracies[0] == accuracies[1]


PHASED = ("--rri", "1", "--base-epochs", "1", "--restraint-epochs", "1", "--relaxation-epochs", "1")


def test_a_run_of_restraint_and_relaxation_is_a_model_too(tmp_path):
    people = write_data(tmp_path / "people")
    net = write_eigen_model(tmp_path)
    train = ("svdnet-rri", "{}", "--data", people, *QUICK, "-b", "6", "--img-size", "32", *PHASED)
    done = run_covtool(*[str(word).format(net) for word in train], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Path("runs/svdnet-rri") / net.stem
    for words in (
        ("inspect", run),
        ("evaluate", f"{run}@last", "--data", people, *QUICK),
        (*[str(word).format(run / "checkpoints/last.pt") for word in train], "--dry-run"),
    ):
        done = run_covtool(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_commands_that_take_a_model_are_all_here():
    import typer

    from covtool_cli.main import app

    group = typer.main.get_command(app)
    taking = set()
    for name in group.list_commands(typer.Context(group)):
        command = group.get_command(typer.Context(group), name)
        told = [getattr(parameter, "help", None) or "" for parameter in command.params]
        if any("A covtool file" in text for text in told):
            taking.add(name)
            assert any("a run's folder" in text for text in told), name
    assert {"inspect", "convert", "finetune", "svdnet-rri", "evaluate", "embed"} <= taking
