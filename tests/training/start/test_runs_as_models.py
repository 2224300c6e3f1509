"""A run's folder and its states open as the models that were exported from them."""

import shutil

import pytest
import torch
import yaml
from training_runs import Recorder, make_request, power_cut, press_ctrl_c

from covtool.checkpoints import open_model
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import CheckpointError, InterruptedRunError
from covtool.specs import HeadSpec, ModelSource
from covtool.training import finetune

HEADS = "isqrt@0,mpn@1"
STILL = {"lr": 1e-12, "warmup_lr": 0.0, "epochs": 1, "freeze": ("backbone",)}


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A run of two epochs each, whose head is exchanged: with a moving average, and without."""
    root = tmp_path_factory.mktemp("runs")
    converted = root / "isqrt.safetensors"
    convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
            operations=[HeadSpec(dim=8)],
            output=converted,
        )
    )
    plain = {"model": str(converted), "from_scratch": False, "new_classifier": True}
    settings = {
        "plain": {},
        "average": {"model_ema": True, "model_ema_decay": 0.5},
        "heads": {**plain, "head_schedule": HEADS},
    }
    return {
        name: finetune(make_request(data, root / name, **given)) for name, given in settings.items()
    }


def logits(model):
    torch.manual_seed(0)
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32))


def assert_same_model(opened, exported):
    assert torch.equal(logits(opened.model), logits(load(exported)))
    expected = load(exported).recipe
    assert opened.recipe.operations == expected.operations
    assert opened.recipe.class_names == expected.class_names
    assert opened.recipe.input == expected.input
    assert opened.model.recipe == opened.recipe


NAMES = ["plain", "average", "heads"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_its_best_model_and_the_last_can_be_chosen(runs, name):
    run = runs[name]
    best, last = open_model(run.directory), open_model(f"{run.directory}@last")
    assert_same_model(best, run.exported["best"])
    assert_same_model(last, run.exported["last"])
    assert "exported/best.safetensors is taken" in best.notes[0]
    assert "@last" in best.notes[0]
    assert "exported/last.safetensors is taken" in last.notes[0]
    assert not best.is_foreign


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", ["best", "last"])
def test_a_state_is_the_model_that_was_exported_with_it(runs, tmp_path, name, state):
    run = runs[name]
    path = run.directory / f"checkpoints/{state}.pt"
    opened = open_model(path)
    assert_same_model(opened, run.exported[state])
    assert "the state of a covtool run after" in opened.notes[0]
    assert opened.recipe.provenance.history[-1].startswith(f"finetune: {state}.pt, the state after")
    assert not opened.is_foreign
    assert any("averaged" in note for note in opened.notes) == (name == "average")
    alone = shutil.copy(path, tmp_path / "moved.pt")
    assert_same_model(open_model(alone), run.exported[state])


def test_an_epochs_state_can_be_chosen(runs):
    (kept,) = (runs["plain"].directory / "checkpoints").glob("epoch-*.pt")
    opened = open_model(f"{runs['plain'].directory}@{kept.stem}")
    assert_same_model(opened, runs["plain"].exported["best"])


def test_the_raw_weights_of_a_state_can_be_chosen(runs):
    path = runs["average"].directory / "checkpoints/last.pt"
    opened = open_model(path, weights="raw")
    raw = torch.load(path, weights_only=True)["model"]
    assert all(torch.equal(t, raw[n]) for n, t in opened.model.state_dict().items())


def without_recipe(path, target):
    state = torch.load(path, weights_only=True)
    del state["recipe"]
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, target)
    return target


def test_a_state_of_an_older_version_is_told_by_the_folder_around_it(runs, tmp_path):
    run = runs["average"]
    old = without_recipe(
        run.directory / "checkpoints/best.pt", tmp_path / "run/checkpoints/best.pt"
    )
    for name in ("args.yaml", "recipe.yaml"):
        shutil.copy(run.directory / name, tmp_path / "run" / name)
    assert_same_model(open_model(old), run.exported["best"])
    arguments = yaml.safe_load((tmp_path / "run/args.yaml").read_text())
    (tmp_path / "run/args.yaml").write_text(yaml.safe_dump({**arguments, "head_schedule": HEADS}))
    with pytest.raises(CheckpointError, match="does not name its model") as caught:
        open_model(old)
    assert "exported/best.safetensors" in caught.value.hint


@pytest.mark.parametrize("read", [open_model, inspect_source])
def test_a_state_that_nothing_describes_is_refused_with_the_way_out(runs, tmp_path, read):
    path = runs["plain"].directory / "checkpoints/best.pt"
    with pytest.raises(CheckpointError, match="does not name its model") as caught:
        read(str(without_recipe(path, tmp_path / "best.pt")))
    assert "exported/best.safetensors" in caught.value.hint


def test_a_state_whose_tensors_do_not_fit_is_refused(runs, tmp_path):
    state = torch.load(runs["plain"].directory / "checkpoints/best.pt", weights_only=True)
    state["model"].popitem()
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="do not fit its recipe"):
        open_model(tmp_path / "best.pt")


def test_other_architectures_than_the_runs_are_refused(runs):
    with pytest.raises(CheckpointError, match="does not fit test_convnext"):
        open_model(runs["plain"].directory, arch="test_convnext")


def test_a_run_has_no_models_that_it_has_not(runs):
    with pytest.raises(CheckpointError, match="no model called worst") as caught:
        open_model(f"{runs['plain'].directory}@worst")
    assert "best" in caught.value.reason
    assert "@last" in caught.value.hint


@pytest.mark.parametrize("name", NAMES)
def test_inspect_sees_what_opens(runs, name):
    run = runs[name]
    for source in (run.directory, run.directory / "checkpoints/best.pt"):
        found, identification = inspect_source(str(source))
        assert identification is None
        assert found.source == str(source)
        assert found.num_classes == 3
        assert found.sites is not None


def test_a_run_goes_on_from_another_runs_folder(asked, runs):
    observer = Recorder()
    result = finetune(
        asked(model=str(runs["plain"].directory), from_scratch=False, **STILL),
        observer=observer,
    )
    assert observer.epochs[0].top_1 == pytest.approx(runs["plain"].best)
    assert result.directory.name == runs["plain"].directory.name
    assert any("exported/best.safetensors is taken" in note for note in observer.notes)


def test_a_run_that_ended_in_its_first_epoch_opens_by_its_state(asked):
    observer = Recorder(at_update=2, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(asked(), observer=observer)
    directory = observer.plans[0].directory
    state = open_model(directory / "checkpoints/last.pt")
    assert_same_model(state, directory / "exported/last.safetensors")
    assert "exported/last.safetensors is taken" in open_model(directory).notes[0]


def test_a_run_that_saved_nothing_is_refused_with_what_to_do(asked):
    observer = Recorder(at_update=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(), observer=observer)
    directory = observer.plans[0].directory
    with pytest.raises(CheckpointError, match="no exported model yet") as caught:
        open_model(directory)
    assert f"--resume {directory}" in caught.value.hint
