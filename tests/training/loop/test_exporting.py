"""A file that a run writes is opened, and tried, before it gets its name."""

import pytest
import torch
from toy_data import write_toy_data
from training_runs import make_request

from covtool.checkpoints import load, verifying
from covtool.errors import CheckpointError, VerificationError
from covtool.training import finetune


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


def damaged(path):
    model = load(path)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    return model


def test_a_file_that_answers_differently_ends_the_run(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(verifying, "load", damaged)
    with pytest.raises(VerificationError, match="answers differently"):
        finetune(make_request(data, tmp_path, epochs=1))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_file_that_does_not_open_ends_the_command_with_6(
    data, tmp_path, monkeypatch, covtool
) -> None:
    def unreadable(path):
        raise CheckpointError(f"The tensors in {path} do not fit its recipe.")

    monkeypatch.setattr(verifying, "load", unreadable)
    code, out, err = covtool(
        *("finetune", "test_resnet", "--from-scratch", "--data", data, "--epochs", 1, "-j", 0),
        *("--img-size", 32, "-b", 6),
    )
    assert code == 6
    assert "does not open again" in err
    assert "best model" not in out
