"""``--lr auto`` and ``--find-lr`` on the command line."""

import json
import re

import pytest
import yaml
from PIL import Image
from toy_data import write_toy_data

QUICK = ["--from-scratch", "--img-size", "32", "--epochs", "1", "-b", "6", "-j", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def finetune(covtool, data):
    def run(*more):
        return covtool("finetune", "test_resnet", "--data", data, *QUICK, "--device", "cpu", *more)

    return run


def test_a_run_of_its_own_rate_has_points_picture_and_rule(finetune, covtool, tmp_path):
    code, _, err = finetune("--lr", "auto")
    assert code == 0
    run = tmp_path / "runs/finetune/test_resnet"
    saved = yaml.safe_load((run / "args.yaml").read_text())
    assert f"the learning rate is {saved['lr']:g}, a third of the largest rate" in err
    assert "held-out loss" in saved["lr_rule"]
    assert (run / "learning_rates.csv").read_text().startswith("lr,train_loss,held_out_loss\n0.0,,")
    with Image.open(run / "learning_rates.png") as picture:
        assert picture.width > 800
    # The same run again, from the arguments: its rate is a given one, and nothing is searched.
    code, _, err = covtool("finetune", "--config", run / "args.yaml")
    assert (code, "Range test" in err) == (0, False)
    again = yaml.safe_load((tmp_path / "runs/finetune/test_resnet-2/args.yaml").read_text())
    del saved["lr_rule"]
    assert again == saved


def test_the_test_alone_shows_the_suggestion(finetune, tmp_path):
    code, out, _ = finetune("--find-lr")
    assert code == 0
    folder = tmp_path / "runs/find-lr/test_resnet"
    assert {path.name for path in folder.iterdir()} == {"learning_rates.csv", "learning_rates.png"}
    lr = re.search(r"suggestion +--lr (\S+)", out)[1]
    assert "nothing was trained" in out
    code, out, _ = finetune("--find-lr", "--json")
    found = json.loads(out)
    assert (found["lr"], found["directory"]) == (float(lr), "runs/find-lr/test_resnet-2")
    assert found["points"][0]["lr"] == 0
    assert not (tmp_path / "runs/finetune").exists()


@pytest.mark.parametrize("way", ["variable", "file"])
def test_auto_may_come_from_elsewhere(finetune, tmp_path, monkeypatch, way):
    # `lr: auto` is refused with a loss that trains no classifier: so it was read.
    loss = ["--loss", "triplet", "--sampler", "pk", "--batch-size", "8"]
    if way == "variable":
        monkeypatch.setenv("COVTOOL_FINETUNE_LR", "auto")
    else:
        (tmp_path / "c.yaml").write_text("lr: auto\n")
        loss += ["--config", str(tmp_path / "c.yaml")]
    code, _, err = finetune(*loss)
    assert code == 2
    assert err.startswith("error: --lr auto has nothing to judge by")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lr", "fast"], "'fast' is neither a number nor 'auto'"),
        (["--lr", "0"], "--lr 0.0 is not valid: Input should be greater than 0."),
        (["--lr", "nan"], "--lr"),
        (["--lr", "auto", "--dry-run"], "--lr auto trains for many updates, and --dry-run for one"),
        (["--find-lr", "--dry-run"], "--dry-run trains on one batch, and --find-lr on many"),
        (["--find-lr", "--resume", "runs/x"], "--find-lr is for a new run, not for --resume"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(finetune, tmp_path, options, said):
    code, _, err = finetune(*options)
    assert code == 2
    assert said in err
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize("option", [["--lr", "auto"], ["--find-lr"]])
def test_the_phases_of_svdnet_refuse_it(covtool, data, option):
    code, _, err = covtool("svdnet-rri", "test_resnet", "--data", data, *option)
    assert code == 2
    assert f"{' '.join(option)} is not for the phases of svdnet-rri" in err


def test_where_nothing_is_found_the_exit_code_is_that_of_training(finetune, tmp_path):
    code, _, err = finetune("--find-lr", "--warmup-lr", "100")
    assert code == 5
    assert "rises at the lowest rate of the test already, 3e+02" in err
    assert "runs/find-lr/test_resnet" in err
    assert (tmp_path / "runs/find-lr/test_resnet/learning_rates.csv").exists()
