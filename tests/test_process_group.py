"""The processes that tests start: what they have of the test's own, and what is said of them."""

import gc
import os
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import process_group
import pytest
from process_group import run_together

left_behind = []


class WaitsForAThread:
    """Waits for a thread when it is collected, as a group of torch.distributed does."""

    def __init__(self):
        self.me = self
        self.over = threading.Event()
        self.pid = os.getpid()

    def __del__(self):
        if os.getpid() != self.pid:
            self.over.wait()


def look_around(rank):
    gc.collect()
    return rank, list(left_behind), os.environ["OF_A_TEST"], str(Path.cwd())


def test_they_have_the_folder_and_the_environment_and_nothing_else_of_a_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_A_TEST", "yes")
    monkeypatch.setattr(f"{__name__}.left_behind", ["something"])
    gc.disable()
    try:
        WaitsForAThread()
        outcomes = run_together(look_around)
    finally:
        gc.enable()
    assert outcomes == [(rank, [], "yes", str(tmp_path)) for rank in range(2)]


def answer_or_sleep(rank):
    if rank != 1:
        raise ValueError("not found")
    time.sleep(60)


def test_who_does_not_answer_is_named_with_what_the_others_say(monkeypatch):
    def be_patient_until_one_is_left(pipes, timeout):
        return wait(pipes, timeout) if len(pipes) > 1 else []

    monkeypatch.setattr(process_group, "wait", be_patient_until_one_is_left)
    with pytest.raises(AssertionError) as caught:
        run_together(answer_or_sleep, world=3)
    assert "no answer from [1]" in str(caught.value)
    assert str(caught.value).count("ValueError('not found')") == 2
