"""Run a function in several processes that make a group, without starting Python anew.

They meet at a store that a process of its own holds, as under torchrun.
"""

import faulthandler
import os
import pickle
import time
import traceback
from multiprocessing.connection import wait

import fork_server
import torch.distributed as dist

PATIENCE = 120


def run_together(work, *arguments, world=2):
    """What ``work(rank, *arguments)`` returned or raised, by rank; None for who was killed.

    They are those of `fork_server`: all of it must be picklable.

    Raises:
        AssertionError: A process does not answer. The message has what the others answered; where
            each process is stands in the standard error.
    """
    holder, pipe = _start(_hold_store)
    running = [holder]
    try:
        assert pipe.poll(PATIENCE), "the store does not start"
        port = pipe.recv()
        started = [_start(_run, port, rank, world, work, arguments) for rank in range(world)]
        running += [process for process, _ in started]
        return _received([pipe for _, pipe in started])
    finally:
        for process in running[1:]:
            process.join(5)
        for process in running:
            process.kill()
            process.join()


def _start(target, *arguments):
    here, there = fork_server.CONTEXT.Pipe(duplex=False)
    process = fork_server.start(target, there, *arguments)
    there.close()
    return process, here


def _hold_store(pipe):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipe.send(store.port)
    time.sleep(10 * PATIENCE)


def _received(pipes):
    """Answers in the order of the pipes, whichever comes first."""
    answers = {}
    deadline = time.monotonic() + PATIENCE
    while len(answers) < len(pipes):
        silent = [pipe for pipe in pipes if pipe not in answers]
        ready = wait(silent, max(0, deadline - time.monotonic()))
        told = {pipes.index(pipe): answer for pipe, answer in answers.items()}
        assert ready, f"no answer from {[*map(pipes.index, silent)]}; the others: {told}"
        answers |= {pipe: _read(pipe) for pipe in ready}
    return [answers[pipe] for pipe in pipes]


def _read(pipe):
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return None


def _run(pipe, port, rank, world, work, arguments):
    # Who waits for all knows only that one is missing: each tells in time where it is.
    faulthandler.dump_traceback_later(PATIENCE - 10, file=2)
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
