"""``--nproc``: a command runs itself in several processes, as torchrun would run it."""

import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from covtool.errors import RESUME_HINT, ArgumentError, CovtoolError, LostProcessError
from covtool.launch_environment import place
from covtool_cli import signals

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    from covtool.specs import LaunchSpec  # with pydantic, which --help does not need

LAUNCHED = "COVTOOL_LAUNCHED"  # in the environment of a process that we started
SECONDS_TO_SAVE = 120  # for the processes to end by themselves, before they are killed

# Set for good: Ctrl-C may come while the processes end, and they report it themselves.
_has_launched = threading.Event()


def is_main() -> bool:
    """Return whether this process writes to the terminal: of several, the first."""
    own = place()
    return own is None or own.rank == 0


def is_launched() -> bool:
    """Return whether this process was started as one of several, by torchrun or by us."""
    return place() is not None


def has_launched() -> bool:
    """Return whether this process has started others that do the work."""
    return _has_launched.is_set()


def is_silent(problem: CovtoolError) -> bool:
    """Return whether the launcher shows an error better than the process it started."""
    return isinstance(problem, LostProcessError) and LAUNCHED in os.environ


def run_in_processes(ctx: typer.Context, spec: "LaunchSpec") -> None:
    """Run the command again in several processes where that is asked for, and exit as they do.

    Returns in those processes, and where one is enough.

    Args:
        ctx: Context of the command, with the arguments as its object.
        spec: Number of processes.

    Raises:
        ArgumentError: torchrun has started another number of them.
        CovtoolError: One of them was killed.
        typer.Exit: All of them have ended.
    """
    if is_launched():
        _refuse_another_number(spec.nproc, os.environ.get("LOCAL_WORLD_SIZE", ""))
    elif spec.nproc > 1:
        raise typer.Exit(_launched(ctx.obj, spec.nproc))


def _refuse_another_number(nproc: int, started: str) -> None:
    # 1 is the default of --nproc.
    if str(nproc) not in ("1", started):
        raise ArgumentError(
            f"--nproc is {nproc}, but torchrun has started {started} processes here.",
            hint="Leave --nproc out under torchrun.",
        )


def _launched(arguments: Sequence[str], nproc: int) -> int:
    """Start the processes, pass signals on to them, wait, and return the exit code."""
    _has_launched.set()
    os.environ[LAUNCHED] = "1"
    # each process would start a thread per core, and they would slow each other down
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_SAVE))

    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.ERROR)  # torch would log the same once more
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port: two launches on a machine do not meet
        local_addr="localhost",
        max_restarts=0,  # a restart would begin the run again: --resume goes on with it
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),  # the processes share this terminal
        **_signals_to_handle(LaunchConfig),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "covtool_cli", *arguments)
    except SignalException as stop:
        return 128 + stop.sigval
    except ChildFailedError as problem:
        return _exit_code(problem.failures.values(), nproc)
    return 0


def _signals_to_handle(config: type) -> dict[str, str]:
    """Return the signals for torch's launcher; it would take SIGHUP where `nohup` ignores it."""
    if not signals.is_hangup_ignored() or "signals_to_handle" not in config.__dataclass_fields__:
        return {}
    return {"signals_to_handle": "SIGTERM,SIGINT,SIGQUIT"}


def _exit_code(failures: "Iterable[ProcessFailure]", nproc: int) -> int:
    """Return the exit code of the process that failed first.

    Raises:
        CovtoolError: It was killed, and could not report anything.
    """
    # The others are ended by SIGTERM then, and may fail in the same second.
    first = min(failures, key=lambda f: (f.timestamp, f.exitcode == -signal.SIGTERM, f.exitcode))
    if first.exitcode > 0:
        return first.exitcode
    raise CovtoolError(
        f"Rank {first.local_rank} of {nproc} was ended by {first.signal_name()}.",
        reason="The system may have ended it because memory ran out."
        if first.signal_name() == "SIGKILL"  # Windows has no such signal
        else None,
        hint=RESUME_HINT,
    )
