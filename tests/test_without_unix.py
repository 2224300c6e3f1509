"""covtool on a system that lacks what only Unix has, as Windows does."""

import ast
import io
import json
import os
import pickle
import re
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import safetensors.torch
import timm
import windows_like
from images import write_classes

import covtool_cli.main  # noqa: F401 -- what it imports is there when a test forks
from covtool.full_paths import relative_name

ROOT = Path(__file__).parents[1]


def on_windows_like(commands, folder):
    """Run commands in a forked process that has become Windows-like; their codes and outputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            found = _run_all(commands, folder)
        except BaseException:
            found = [[-1, traceback.format_exc()]]
        (folder / "found.json").write_text(json.dumps(found))
        os._exit(0)
    os.waitpid(child, 0)
    text = (folder / "found.json").read_text()
    (folder / "found.json").unlink()
    return json.loads(text)


def _run_all(commands, folder):
    windows_like.become_windows_like()
    from covtool_cli import main

    os.chdir(folder)
    found = []
    for command in commands:
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        code = 0
        with redirect_stdout(out), redirect_stderr(out):
            try:
                main.run([str(argument) for argument in command])
            except SystemExit as end:
                code = end.code or 0
        found.append([code, out.buffer.getvalue().decode()])
    return found


@pytest.fixture
def network(tmp_path):
    """The weights of a tiny network, and images of three classes."""
    tensors = timm.create_model("test_resnet", num_classes=3).state_dict()
    safetensors.torch.save_file(tensors, tmp_path / "net.safetensors")
    write_classes(tmp_path / "data" / "train", {"a": 6, "b": 6, "c": 6})
    write_classes(tmp_path / "data" / "val", {"a": 3, "b": 3, "c": 3})
    return tmp_path


TRAINING = (
    *("--data", "data", "--img-size", 64, "-b", 6, "-j", 0, "--device", "cpu"),
    *("--experiment", "r", "--no-report"),
)


@pytest.mark.alone
def test_convert_finetune_resume_evaluate_and_predict_run_without_unix(network):
    convert = ("convert", "net.safetensors", "--arch", "test_resnet", "--head", "isqrt")
    commands = [
        (*convert, "--dim", 8, "-o", "converted.safetensors"),
        (*convert, "--dim", 8, "-o", "converted.safetensors", "--overwrite"),
        ("finetune", "converted.safetensors", *TRAINING, "--epochs", 1, "--cache", "disk"),
        ("finetune", "--resume", "runs/finetune/r", "--epochs", 2),
        ("evaluate", "runs/finetune/r", "--data", "data", "-j", 0, "--device", "cpu"),
        ("predict", "runs/finetune/r", "data/val", "-o", "rows.csv", "-j", 0),
        ("index", "runs/finetune/r", "data/val/a", "-o", "g.index", "-j", 0),
        ("index", "g.index", "data/val/b", "--add", "-j", 0),
    ]
    found = on_windows_like(commands, network)
    for command, (code, printed) in zip(commands, found, strict=True):
        assert code == 0, f"{command}\n{printed}"
    run = network / "runs/finetune/r"
    assert (run / "result.json").exists()
    assert (run / "summary.csv").read_bytes().count(b"\n") == 3
    left = [path for path in network.rglob("*") if path.suffix in (".tmp", ".partial", ".journal")]
    assert not left
    assert not [path for path in network.iterdir() if "lock" in path.name]


def test_the_stand_in_for_windows_refuses_what_windows_does(tmp_path):
    (tmp_path / "a").touch()
    with (tmp_path / "a").open() as file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            windows_like._fsync(file.fileno())
        for refused in (os.unlink, os.replace):
            paths = [tmp_path / "a"] + [tmp_path / "b"] * (refused is os.replace)
            with pytest.raises(PermissionError):
                windows_like._refused_of_open_files(refused)(*paths)
    with pytest.raises(PermissionError):
        windows_like._open(tmp_path, os.O_RDONLY)


def test_names_in_files_have_slashes_on_every_system(monkeypatch):
    import ntpath

    monkeypatch.setattr("covtool.full_paths.os", ntpath_os := type(sys)("os"))
    ntpath_os.path, ntpath_os.sep = ntpath, "\\"
    assert relative_name(r"C:\data\a\1.jpg", r"C:\data") == "a/1.jpg"


GUARDED = {
    ("covtool/atomic/__init__.py", "os.chown"): "asks for it first",
    ("covtool/atomic/places.py", "os.geteuid"): "asks for it first",
    ("covtool/atomic/room.py", "os.geteuid"): "where there is a statvfs",
    ("covtool/atomic/room.py", "os.statvfs"): "AttributeError is caught",
    ("covtool/atomic/staging.py", "os.uname"): "asks for it first",
    ("covtool/benchmarking/data_loading.py", "os.sysconf"): "once /proc was read",
    ("covtool/data/cache/cache_file.py", "os.pwrite"): "asks for it first",
    ("covtool/data/images/bounds.py", "os.register_at_fork"): "asks for it first",
    ("covtool/data/loading/worker_death.py", "os.statvfs"): "AttributeError is caught",
    ("covtool/data/loading/worker_death.py", "signal.SIGCHLD"): "asks for it first",
    ("covtool/data/loading/workers.py", "os.sched_getaffinity"): "asks for it first",
    ("covtool/data/loading/workers.py", "signal.SIGHUP"): "asks for it first",
    ("covtool/data/loading/workers.py", "signal.pthread_sigmask"): "asks for sigwaitinfo first",
    ("covtool/data/loading/workers.py", "signal.sigwaitinfo"): "asks for it first",
    ("covtool/diagnosing/health.py", "os.sched_getaffinity"): "asks for it first",
    ("covtool/diagnosing/health.py", "os.sysconf"): "AttributeError is caught",
    ("cli/signals.py", "signal.SIGHUP"): "asks for it first",
    ("cli/streams.py", "os.get_blocking"): "AttributeError is caught",
    ("cli/streams.py", "os.set_blocking"): "AttributeError is caught",
}
"""Uses of what only Unix has, with what makes each safe."""


def sources(pattern):
    """The syntax trees of the modules whose text has something in it."""
    for path in [*ROOT.glob("covtool/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        if re.search(pattern, text):
            yield path.relative_to(ROOT).as_posix(), ast.walk(ast.parse(text))


def test_what_only_unix_has_is_used_only_where_that_is_known_to_be_safe():
    names = {f"os.{name}" for name in windows_like.OF_OS}
    names |= {f"signal.{name}" for name in windows_like.OF_SIGNAL}
    found = set()
    for path, nodes in sources(rf"\b({'|'.join(map(re.escape, names))})\b"):
        for node in nodes:
            if isinstance(node, ast.Attribute) and ast.unparse(node) in names:
                found.add((path, ast.unparse(node)))
    assert found == set(GUARDED)


ASKED_FIRST = {"covtool/benchmarking/retrieval.py", "covtool/training/run/environment.py"}
"""Modules that import what only Unix has inside a ``try``, or after a look at /proc."""


def test_no_module_needs_a_module_of_unix():
    found = set()
    for path, nodes in sources(rf"import ({'|'.join(windows_like.MODULES)})\b"):
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                if named & windows_like.MODULES:
                    found.add(path)
    assert found == ASKED_FIRST


def test_what_workers_are_given_can_be_sent_to_a_process_that_is_started_anew(tmp_path):
    """Windows and macOS start workers anew: what they are given is pickled."""
    from covtool.data.datasets.samples import Sample
    from covtool.data.loading.loaders import evaluation_loader, training_loader
    from covtool.specs import AugmentationSpec, InputSpec

    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    samples = [Sample(path, 0) for path in sorted((tmp_path / "data").rglob("*.png"))]
    images = InputSpec(size=(32, 32))
    for loader in (
        evaluation_loader(samples, images, batch_size=2, workers=2),
        training_loader(samples, images, AugmentationSpec(), batch_size=2, workers=2),
    ):
        given = loader.dataset, loader.collate_fn, loader.worker_init_fn
        dataset, collate, _ = pickle.loads(pickle.dumps(given))
        index = next(iter(loader.batch_sampler))[0]
        again = collate([dataset[index]])
        before = loader.collate_fn([loader.dataset[index]])
        assert again.images.equal(before.images)
