import errno
import multiprocessing
import os

import pytest

from covtool import shortages
from covtool.data.loading.worker_death import end_where_batches_are_lost, translate_worker_death
from covtool.errors import WorkerError
from covtool.shortages import shortage_behind, shortage_of


def wrapped(problem):
    try:
        try:
            raise problem
        except Exception as cause:
            raise RuntimeError("in a worker") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("problem", "shortage"),
    [
        (MemoryError(), shortages.MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), shortages.MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), shortages.MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), shortages.MEMORY),
        (OSError(errno.EMFILE, "Too many open files"), shortages.OPEN_FILES),
        (RuntimeError("received 0 items of ancdata"), shortages.OPEN_FILES),
        (RuntimeError("unable to open shared memory: Too many open files"), shortages.OPEN_FILES),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), shortages.DISK),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space"),
            shortages.SHARED,
        ),
        (RuntimeError("can't start new thread"), shortages.PROCESSES),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), shortages.PROCESSES),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            shortages.LIBRARIES,
        ),
    ],
    ids=str,
)
def test_what_there_is_too_little_of_is_told_by_the_error_or_its_cause(problem, shortage):
    assert shortage_behind(problem) is shortage
    assert shortage_behind(wrapped(problem)) is shortage


@pytest.mark.parametrize(
    "problem",
    [KeyError("out of memory"), RuntimeError("shapes do not fit"), FileNotFoundError(2, "no", "a")],
    ids=repr,
)
def test_other_errors_are_no_shortage(problem):
    assert shortage_behind(problem) is None


def test_semaphores_without_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(shortages, "SHARED_MEMORY", tmp_path / "nowhere")
    for number in (errno.ENOENT, errno.EROFS, errno.EACCES):
        assert shortage_behind(OSError(number, "Semaphores lie there")) is shortages.SHARED
    assert shortage_behind(OSError(errno.ENOENT, "Of a file", "a.png")) is None


def test_a_worker_writes_to_nothing_but_shared_memory():
    assert shortage_of(errno.ENOSPC) is shortages.SHARED
    assert shortage_of(errno.EMFILE) is shortages.OPEN_FILES
    assert shortage_of(1) is None


def test_what_a_worker_lacked_is_its_exit_code():
    said = f"DataLoader worker (pid 7) exited unexpectedly with exit code {errno.EMFILE}. Details"
    with pytest.raises(WorkerError) as caught, translate_worker_death(2):
        raise RuntimeError(said)
    assert caught.value.reason == shortages.OPEN_FILES.message
    assert "ulimit -n" in caught.value.hint


class Unsendable:
    def __reduce__(self):
        raise OSError(errno.EMFILE, "Too many open files")


def lose_a_batch(queue):
    end_where_batches_are_lost()
    queue.put(Unsendable())
    queue.close()
    queue.join_thread()
    os._exit(0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_that_cannot_hand_a_batch_over_ends(capfd):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=lose_a_batch, args=(context.Queue(),))
    worker.start()
    worker.join(60)
    assert worker.exitcode == errno.EMFILE
    assert capfd.readouterr().err == ""
