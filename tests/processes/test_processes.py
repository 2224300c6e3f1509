import os
import signal
import time

import pytest
import torch
from process_group import run_together

from covtool.errors import ArgumentError, DataError, DeadlockError, LostProcessError
from covtool.processes import ALONE, joined, joining


def exchange(rank):
    with joined(timeout_s=20) as processes:
        tensors = [torch.full((2, 2), float(rank)), torch.tensor([3.0 * rank])]
        processes.average_(tensors)
        return {
            "me": (processes.rank, processes.world, processes.is_main),
            "each": processes.each(lambda: f"from {rank}"),
            "agreed": processes.agreed(lambda: (rank, (1.5, 2 * rank)), numbers=2),
            "main": processes.main(lambda: f"from {rank}"),
            "sum": processes.sum(2**40 + rank, 0.5),
            "most": processes.most(rank, -rank),
            "average": [tensor.tolist() for tensor in tensors],
            "parts": processes.each(lambda: processes.part_of("abcdefg")),
            "over": processes.main_over(
                lambda: processes.share_of("abcdefg"),
                lambda items: ["".join(items()), "".join(items())],
            ),
            "interleaved": list(processes.interleaved(processes.share_of("abcdefg"))),
        }


def test_processes_exchange_results_sums_and_means():
    results = run_together(exchange, world=3)
    assert [r["me"] for r in results] == [(0, 3, True), (1, 3, False), (2, 3, False)]
    for result in results:
        assert result["each"] == ["from 0", "from 1", "from 2"]
        assert result["agreed"] == (result["me"][0], [(1.5, 1.5, 1.5), (0, 2, 4)])
        assert result["main"] == "from 0"
        assert result["sum"] == [3 * 2**40 + 3, 1.5]
        assert result["average"] == [[[1, 1], [1, 1]], [3]]
        assert result["most"] == [2, 0]
        assert result["over"] == ["abcdefg", "abcdefg"]
        assert result["parts"] == ["abc", "de", "fg"]
    assert [r["interleaved"] for r in results] == [list("abcdefg"), [], []]


def test_alone_the_same_calls_are_trivial():
    with joined(timeout_s=1) as processes:
        assert processes is ALONE
    assert ALONE.each(lambda: 1) == [1]
    assert ALONE.main(lambda: 1) == 1
    assert ALONE.agreed(lambda: ("kept", (1, 2)), numbers=2) == ("kept", [(1,), (2,)])
    assert ALONE.sum(1, 2) == [1, 2]
    assert list(ALONE.interleaved("ab")) == ["a", "b"]
    assert ALONE.most(1, 2) == [1, 2]
    assert ALONE.part_of("abc") == ALONE.share_of("abc") == "abc"


class OddError(Exception):
    """Cannot be put together from its message."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail(rank, problems, how):
    def work():
        if problems[rank] is not None:
            raise problems[rank]

    with joined(timeout_s=20) as processes:
        if how == "interleaved":
            list(processes.interleaved(iter(work, None)))
        elif how == "agreed":
            processes.agreed(lambda: (work(), ()), numbers=0)
        elif how == "main_over":
            processes.main_over(lambda: "ab", lambda items: [*items(), work()])
        elif how == "share":
            processes.main_over(lambda: iter(work, None), lambda items: list(items()))
        else:
            getattr(processes, how)(work)


@pytest.mark.parametrize("how", ["each", "agreed", "main", "main_over", "share", "interleaved"])
def test_what_one_raises_all_raise(how):
    failing = 0 if how.startswith("main") else 1
    problems = [None, None]
    problems[failing] = DataError("bad image", reason="truncated", hint="remove it")
    for problem in run_together(fail, problems, how):
        assert isinstance(problem, DataError)
        assert (problem.message, problem.reason) == ("bad image", "truncated")
        assert problem.hint == "remove it"


def fail_oddly(rank):
    try:
        fail(rank, [OddError("a", "b"), None], "each")
    except Exception as problem:
        return type(problem).__name__, str(problem)


def test_an_exception_that_cannot_travel_arrives_with_its_name():
    assert run_together(fail_oddly) == [
        ("OddError", "a and b"),
        ("RuntimeError", "OddError: a and b"),
    ]


def fail_alone(rank):
    told = []

    def tell():
        time.sleep(0.5)
        told.append(rank)
        return 4

    try:
        with joined(timeout_s=20) as processes:
            if rank == 1:
                raise DataError("mine alone")
            processes.sum(1)
    except Exception as problem:
        return type(problem).__name__, problem.tell_once(tell), told


def test_the_first_to_fail_tells_and_all_end_with_its_exit_code():
    assert run_together(fail_alone) == [
        ("LostProcessError", 4, []),
        ("DataError", 4, [1]),
    ]


def die(rank):
    with joined(timeout_s=20) as processes:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        processes.sum(1)


def test_who_loses_another_says_so():
    survivor, killed = run_together(die)
    assert killed is None
    assert isinstance(survivor, LostProcessError)
    assert "Rank 0 of 2 has lost another process" in str(survivor)
    assert "--resume DIR" in survivor.hint


def dawdle(rank):
    with joined(timeout_s=1) as processes:
        processes.doing = "update 1"
        processes.sum(1)
        processes.doing = "update 2"
        if rank == 1:
            time.sleep(5)
            return
        processes.sum(1)


def test_who_keeps_the_others_waiting_is_named():
    first, _, third = run_together(dawdle, world=3)
    # Whoever's time is up first has the name; the other may only see that it left.
    problem = next(p for p in (first, third) if isinstance(p, DeadlockError))
    assert problem.message == "Rank 1 of 3 did not answer for 1 s."
    assert problem.reason == "Last heard of: rank 1 at update 1. The others wait at update 2."


def twice(rank):
    sums = []
    for _ in range(2):
        with joined(timeout_s=20) as processes:
            sums += processes.sum(1)
    return sums


def test_a_group_can_be_joined_again():
    assert run_together(twice) == [[2, 2], [2, 2]]


def connect_slowly(rank):
    connect = torch.distributed.init_process_group
    connected = []

    def dawdle(*arguments, **settings):
        connect(*arguments, **settings)
        time.sleep(1)
        connected.append(time.monotonic())

    if rank == 2:
        torch.distributed.init_process_group = dawdle
    with joined(timeout_s=20):
        began = time.monotonic()
    return began, *connected


def test_nobody_begins_and_leaves_before_all_are_connected():
    *beginnings, (last, connected) = run_together(connect_slowly, world=3)
    assert all(began >= connected for began in (*(began for (began,) in beginnings), last))


def fail_to_connect(rank):
    def refuse(*arguments, **settings):
        raise RuntimeError("Gloo connectFullMesh failed with ... Connection closed by peer")

    if rank == 1:
        torch.distributed.init_process_group = refuse
    try:
        with joined(timeout_s=3):
            pass
    except Exception as problem:
        told = []
        problem.tell_once(lambda: told.append(rank) or 1)
        return type(problem).__name__, str(problem), told


def test_who_cannot_connect_says_so_and_the_others_name_it():
    (waiting, of_the_first, silent), (lost, of_the_second, told) = run_together(fail_to_connect)
    assert (lost, told) == ("LostProcessError", [1])
    assert of_the_second.startswith("Rank 1 of 2 has lost another process")
    assert (waiting, silent) == ("DeadlockError", [])
    assert of_the_first.startswith("Rank 1 of 2 did not answer for 3 s.")


def never_come(rank, over):
    joining.STARTING_S = 1
    if rank == 1:
        while not over.exists():
            time.sleep(0.01)
        return
    try:
        with joined(timeout_s=20):
            pass
    finally:
        over.touch()


def test_who_does_not_start_is_named(tmp_path):
    problem, _ = run_together(never_come, tmp_path / "over")
    assert isinstance(problem, DeadlockError)
    assert problem.message == "Rank 1 of 2 did not answer for 1 s."
    assert problem.reason == "Last heard of: rank 1 at the start. The others wait at the start."


def come_in_the_last_moment(rank):
    class LateStore(torch.distributed.PrefixStore):
        def wait(self, keys, timeout):
            super().wait(keys, timeout)
            raise RuntimeError("wait timeout")

    joining.dist.PrefixStore = LateStore
    with joined(timeout_s=20) as processes:
        return processes.sum(1)


def test_who_comes_when_the_time_is_over_is_not_missed():
    assert run_together(come_in_the_last_moment) == [[2], [2]]


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ArgumentError, match="no number in RANK"), joined(timeout_s=1):
        pass
