"""Processes forked from one that has imported covtool and has run no test.

A fresh process would import for seconds. A fork of the tests' own process would have none of its
threads and all of their locks, and may find what waits for such a thread when it collects garbage
that a test has left: once in thousands of forks one never came back.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "covtool.conversion.converting",
        "covtool.evaluation.embed",
        "covtool.evaluation.evaluate",
        "covtool.evaluation.retrieve",
        "covtool.prediction.predicting",
        "covtool.training.start.resume",
        "covtool_cli.main",
        "pytest",
        "timm",
        "torchvision",
    ]
)


def start(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """Start ``target(*arguments)``, all of it picklable, in this environment and folder.

    What else a test has changed in this process is not changed there.
    """
    here = (dict(os.environ), Path.cwd())
    process = CONTEXT.Process(target=_run, args=(*here, target, arguments))
    process.start()
    return process


def _run(
    environment: dict[str, str],
    folder: Path,
    target: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    os.fsync = lambda handle: None  # as in the tests' own process
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    target(*arguments)
