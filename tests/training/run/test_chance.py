"""A model that knows nothing is not called the best."""

import math

import pytest
from toy_data import write_toy_data

from covtool.training.run.records import is_chance
from covtool.training.run.state import RunState


@pytest.mark.parametrize(
    ("figures", "num_classes", "expected"),
    [
        ({"top_1": 25.0, "loss": 80.0}, 4, True),
        ({"top_1": 25.0, "loss": math.log(4)}, 4, False),
        ({"top_1": 26.0, "loss": 80.0}, 4, False),
        ({"top_1": 100.0, "loss": 0.1}, 1, False),
        ({"rank_1": 0.0}, 4, False),
    ],
)
def test_chance_is_a_guess_that_is_sure_of_itself(figures, num_classes, expected) -> None:
    assert is_chance(figures, num_classes) == expected


def test_epochs_of_an_older_state_are_not_known_to_be_chance() -> None:
    state = RunState(epoch=3, values=[1.0, 2.0, 3.0], chance=[True, False])
    assert [state.is_chance(epoch) for epoch in (1, 2, 3)] == [False, True, False]


def test_a_run_that_diverges_has_no_best_model(covtool, tmp_path) -> None:
    data = write_toy_data(tmp_path / "toy")
    arguments = ("finetune", "test_resnet", "--from-scratch", "--data", data, "--img-size", 32)
    quick = ("--epochs", 1, "-b", 36, "-j", 0, "--opt", "sgd", "--sched", "constant")
    code, out, err = covtool(*arguments, *quick, "--lr", 1000, "--warmup-epochs", 0)
    assert code == 0
    assert "1 update per epoch" in err
    assert "no better than a guess" in err
    assert "best so far" not in err
    assert "least bad model" in out
    assert "best model" not in out
