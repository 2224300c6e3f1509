"""Run a function in several processes that make a group, without starting Python anew.

They are forked, as everything they need has been imported, and meet at a store that a process of
its own holds, as under torchrun.
"""

import multiprocessing
import os
import pickle
import time
import traceback
import warnings

import torch.distributed as dist

PATIENCE = 120


def run_together(work, *arguments, world=2):
    """What ``work(rank, *arguments)`` returned or raised, by rank; None for who was killed."""
    holder, pipe = _start(_hold_store)
    running = [holder]
    try:
        port = pipe.recv()
        started = [_start(_run, port, rank, world, work, arguments) for rank in range(world)]
        running += [process for process, _ in started]
        return [_received(pipe) for _, pipe in started]
    finally:
        for process in running[1:]:
            process.join(5)
        for process in running:
            process.kill()
            process.join()


def _start(target, *arguments):
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(there, *arguments))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        process.start()
    there.close()
    return process, here


def _hold_store(pipe):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipe.send(store.port)
    time.sleep(10 * PATIENCE)


def _received(pipe):
    try:
        assert pipe.poll(PATIENCE), "a process does not answer"
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return None


def _run(pipe, port, rank, world, work, arguments):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    try:
        outcome = work(rank, *arguments)
    except Exception as problem:
        problem.add_note(traceback.format_exc())
        problem.tell_once = None  # it cannot leave the process
        outcome = problem
    try:
        content = pickle.dumps(outcome)  # whole: no tensors in memory that ends with the process
    except Exception as problem:
        content = pickle.dumps(RuntimeError(f"{outcome!r} cannot be sent: {problem}"))
    pipe.send_bytes(content)
