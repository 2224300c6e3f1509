import faulthandler
import multiprocessing
import os
import signal
import time
import warnings

import pytest
from images import write_classes
from torch.utils.data._utils import signal_handling

from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import training_loader
from covtool.data.loading.worker_death import shared_memory_mib, translate_worker_death
from covtool.errors import WorkerError
from covtool.specs import AugmentationSpec, InputSpec

SMALL = InputSpec(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)


def test_a_killed_worker_is_named_with_what_to_do(tmp_path):
    samples = scan(write_classes(tmp_path, {"a": 20, "b": 20})).splits["train"]
    others = set(multiprocessing.active_children())  # of other tests
    loader = training_loader(samples, SMALL, AugmentationSpec(), batch_size=1, workers=2)
    batches = iter(loader)
    next(batches)
    victim = (set(multiprocessing.active_children()) - others).pop().pid
    with pytest.raises(WorkerError) as caught, translate_worker_death(2):
        os.kill(victim, signal.SIGKILL)
        list(batches)
    assert caught.value.message == f"A process that loads images died (process {victim})."
    assert "memory is short" in caught.value.reason
    assert caught.value.hint == "Load with fewer processes: --workers 1 (it was 2)."


def test_the_death_is_noticed_at_the_next_batch_and_nowhere_else(tmp_path):
    samples = scan(write_classes(tmp_path, {"a": 20, "b": 20})).splits["train"]
    others = set(multiprocessing.active_children())
    loader = training_loader(samples, SMALL, AugmentationSpec(), batch_size=1, workers=2)
    signal_handling._SIGCHLD_handler_set = False  # as in a process that has loaded nothing yet
    batches = iter(loader)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    victim = (set(multiprocessing.active_children()) - others).pop().pid
    os.kill(victim, signal.SIGKILL)
    os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)
    time.sleep(0.1)  # a handler would raise here
    with pytest.raises(WorkerError, match=f"process {victim}"):
        next(batches)


def end_by_bus_error():
    faulthandler.disable()  # pytest's
    signal.raise_signal(signal.SIGBUS)


def test_the_signal_is_named_where_torch_has_only_noticed_the_end():
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        child = context.Process(target=end_by_bus_error)
        child.start()
    child.join()
    with pytest.raises(WorkerError) as caught, translate_worker_death(2):
        raise RuntimeError(f"DataLoader worker (pid(s) {child.pid}) exited unexpectedly")
    assert "shared memory" in caught.value.reason


@pytest.mark.parametrize(
    ("said", "reason", "hint"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory. Please try to raise your limit.",
            "The shared memory (/dev/shm",
            "--shm-size",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Segmentation fault. ",
            "It is killed by signal: Segmentation fault.",
            "--workers 0",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "It was killed", "(it was 4)"),
        (
            "DataLoader worker (pid 7) exited unexpectedly with exit code 3. Details are lost.",
            "It exited unexpectedly with exit code 3.",
            "--workers 0",
        ),
    ],
)
def test_what_torch_says_is_understood(said, reason, hint):
    with pytest.raises(WorkerError, match=r"process 7") as caught, translate_worker_death(4):
        raise RuntimeError(said)
    assert reason in caught.value.reason
    assert hint in caught.value.hint


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes do not fit"), translate_worker_death(4):
        raise RuntimeError("shapes do not fit")


def test_the_size_of_shared_memory_is_known_where_there_is_one():
    size = shared_memory_mib()
    assert (size is not None) == os.path.isdir("/dev/shm")  # noqa: PTH112
    assert size is None or size > 0
