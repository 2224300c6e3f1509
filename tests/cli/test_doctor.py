import json
import re

import pytest
import torch
from toy_data import write_toy_data

from covtool.diagnosing import health
from covtool.training.start import prepare
from covtool_cli import progress

QUICK = ["--from-scratch", "--img-size", "32", "--epochs", "1", "-b", "6", "-j", "0"]


@pytest.fixture
def stopped(covtool, tmp_path, monkeypatch):
    """Run a model one of whose weights became nan, and return its output."""
    models, original = [], prepare.assemble

    def assemble(model, *rest):
        models.append(model)
        return original(model, *rest)

    @torch.no_grad()
    def poison(self, record):
        if record.update == 2:
            models[-1].layer2[0].conv1.weight[0, 0] = torch.nan

    monkeypatch.setattr(prepare, "assemble", assemble)
    monkeypatch.setattr(progress.TrainingLines, "on_step", poison)
    data = write_toy_data(tmp_path / "toy")
    return covtool("finetune", "test_resnet", "--data", data, *QUICK, "--device", "cpu")


def test_it_says_what_is_installed_and_checks_it(covtool):
    code, out, err = covtool("doctor")
    assert code == 0, err
    assert re.search(r"torch +\d+\.\d+", out)
    assert re.search(r"torchvision fits torch +│ yes", out)
    assert re.search(r"covariance network on cpu +│ yes", out)
    assert "extra plots" in out


def test_in_json_it_is_one_object_and_a_failed_check_exits_6(covtool, monkeypatch):
    code, out, _ = covtool("doctor", "--json")
    assert code == 0
    assert json.loads(out)["devices"][0]["name"] == "cpu"
    monkeypatch.setattr(health, "shared_memory_mib", lambda: 64.0)
    code, out, err = covtool("doctor", "--json")
    assert code == 6
    assert not json.loads(out)["checks"][-1]["passed"]
    assert "checks failed: shared memory for loading processes" in err


def test_the_command_that_a_stopped_run_names_reproduces_it(covtool, stopped):
    code, _, err = stopped
    assert code == 5
    assert "error: The loss is nan at step 3." in err
    arguments = re.search(r"covtool (doctor --replay .*)", err)[1].split()
    code, out, err = covtool(*arguments)
    assert code == 0, err
    assert re.search(r"reproduced +yes", out)
    assert "'layer2.0.conv1' (Conv2d); its weight is not finite." in out
    assert re.search(r"layer2\.0\.conv1\.weight +│", out)
    assert "Outputs, forward: around the first that is not finite" in out
    code, out, _ = covtool(*arguments, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["reproduced"] is True
    assert found["loss"] is None
    assert found["outputs"][-1]["name"] == "fc"


def test_a_dump_that_does_not_reproduce_exits_0_too(covtool, stopped, tmp_path):
    path = tmp_path / "runs/finetune/test_resnet/nonfinite.pt"
    payload = torch.load(path, weights_only=True)
    payload["model"]["layer2.0.conv1.weight"].nan_to_num_()
    torch.save(payload, path)
    code, out, err = covtool("doctor", "--replay", path)
    assert code == 0, err
    assert re.search(r"reproduced +no", out)
    assert "all is finite" in out
    assert "Gradients by outputs, backward: the largest" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--replay", "nowhere.pt"], 3, "nowhere.pt cannot be read."),
        (["--device", "cpu"], 2, "--device has no effect without --replay."),
    ],
)
def test_what_cannot_be_done_is_refused(covtool, arguments, code, message):
    got, _, err = covtool("doctor", *arguments)
    assert got == code
    assert message in err
