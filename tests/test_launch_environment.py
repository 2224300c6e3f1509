import pytest

from covtool.errors import ArgumentError
from covtool.launch_environment import Place, place, required_place

WHOLE = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
SECOND = Place(rank=1, world=2, local_rank=1, local_world=2)


def without(*names):
    return {name: value for name, value in WHOLE.items() if name not in names}


def test_a_whole_environment_says_which_process_this_is():
    assert place(WHOLE) == required_place(WHOLE) == SECOND


def test_not_every_launcher_counts_the_processes_of_a_machine():
    assert place(without("LOCAL_WORLD_SIZE")) == Place(rank=1, world=2, local_rank=1, local_world=1)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "1"},
        {"RANK": "x", "LOCAL_RANK": "y"},
        {"WORLD_SIZE": ""},
        without("WORLD_SIZE"),
    ],
    ids=str,
)
def test_without_a_number_of_processes_there_is_one(environment):
    assert place(environment) is None
    assert required_place(environment) is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (without("RANK"), "no number in RANK"),
        (without("LOCAL_RANK"), "no number in LOCAL_RANK"),
        (without("MASTER_ADDR"), "no MASTER_ADDR"),
        (without("MASTER_PORT"), "no port in MASTER_PORT"),
        ({"WORLD_SIZE": "2"}, "no number in RANK and LOCAL_RANK"),
        (WHOLE | {"WORLD_SIZE": "junk"}, "no number in WORLD_SIZE"),
        (WHOLE | {"WORLD_SIZE": "²"}, "no number in WORLD_SIZE"),
        (WHOLE | {"WORLD_SIZE": "9" * 5000}, "no number in WORLD_SIZE"),
        (WHOLE | {"WORLD_SIZE": "-2"}, "no number in WORLD_SIZE"),
        (WHOLE | {"WORLD_SIZE": "0"}, "RANK is 1 of 0"),
        (WHOLE | {"WORLD_SIZE": "1"}, "RANK is 1 of 1"),
        (WHOLE | {"RANK": "7"}, "RANK is 7 of 2"),
        (WHOLE | {"LOCAL_WORLD_SIZE": "x"}, "no number in LOCAL_WORLD_SIZE"),
        (WHOLE | {"MASTER_PORT": "0"}, "no port in MASTER_PORT"),
        (WHOLE | {"MASTER_PORT": "70000"}, "no port in MASTER_PORT"),
        (WHOLE | {"MASTER_PORT": "\x1b[2J"}, "no port in MASTER_PORT"),
    ],
)
def test_half_of_it_does_not_count_and_is_named_where_it_matters(environment, said):
    assert place(environment) is None
    with pytest.raises(ArgumentError, match=said):
        required_place(environment)
