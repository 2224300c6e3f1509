"""Standard streams that are closed, full, left by their reader, or of a poor encoding."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covtool import atomic
from covtool_cli import main, render, streams
from covtool_cli.streams import Outlet


class Failing(io.StringIO):
    """A stream that cannot be written to any more."""

    def __init__(self, problem, *, when):
        super().__init__()
        self.problem, self.when = problem, when

    def write(self, text):
        if self.when == "write":
            raise self.problem
        return super().write(text)

    def flush(self):
        if self.when == "flush":
            raise self.problem


def full(when="flush"):
    return Failing(OSError(errno.ENOSPC, "No space left on device"), when=when)


def left(when="flush"):
    return Failing(BrokenPipeError(errno.EPIPE, "Broken pipe"), when=when)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


LOSING = {
    "closed from the start": lambda: None,
    "closed since": closed,
    "full": full,
    "full at once": lambda: full("write"),
    "gone": lambda: Failing(OSError(errno.EIO, "Input/output error"), when="write"),
    "broken in its own way": lambda: Failing(RuntimeError("no"), when="write"),
}
LEFT = {
    "left": left,
    "left at once": lambda: left("write"),
    "reset": lambda: Failing(ConnectionResetError(errno.ECONNRESET, "Reset"), when="flush"),
}


def run(monkeypatch, *arguments, stdout=None, stderr=None):
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(SystemExit) as end:
        main.run(list(map(str, arguments)))
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    return end.value.code


RESULTS = {
    "table": ("list", "angulars"),
    "json": ("list", "angulars", "--json"),
    "text": ("list", "presets", "--show", "fgvc"),
    "help": ("--help",),
    "help of a command": ("list", "--help"),
    "version": ("--version",),
}


@pytest.mark.parametrize("arguments", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("stdout", LOSING.values(), ids=LOSING)
def test_a_result_that_is_lost_is_an_error(monkeypatch, arguments, stdout):
    err = io.StringIO()
    assert run(monkeypatch, *arguments, stdout=stdout(), stderr=err) == 1
    said = err.getvalue().splitlines()
    assert said[0] == "error: The result could not be written to stdout."
    assert len(said) == 2


@pytest.mark.parametrize("stdout", LOSING.values(), ids=LOSING)
@pytest.mark.parametrize("stderr", LOSING.values(), ids=LOSING)
def test_without_either_stream_the_exit_code_says_it(monkeypatch, stdout, stderr):
    assert run(monkeypatch, "list", "angulars", stdout=stdout(), stderr=stderr()) == 1


@pytest.mark.parametrize("arguments", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("stdout", LEFT.values(), ids=LEFT)
def test_a_reader_that_has_left_is_no_error(monkeypatch, arguments, stdout):
    err = io.StringIO()
    assert run(monkeypatch, *arguments, stdout=stdout(), stderr=err) == 0
    assert err.getvalue() == ""


@pytest.mark.parametrize("stderr", (LOSING | LEFT).values(), ids=LOSING | LEFT)
def test_errors_have_their_exit_code_whether_they_can_be_shown_or_not(monkeypatch, stderr):
    out = io.StringIO()
    assert run(monkeypatch, "nonsense", stdout=out, stderr=stderr()) == 2
    assert run(monkeypatch, "inspect", "there-is-no.pth", stdout=out, stderr=stderr()) == 3
    assert run(monkeypatch, "list", "angulars", stdout=out, stderr=stderr()) == 0


def test_an_error_keeps_its_exit_code_where_the_result_before_it_is_lost(monkeypatch):
    def show_and_fail(*arguments):
        render.line("a result")
        raise main.errors.DataError("bad")

    monkeypatch.setattr(render, "table", show_and_fail)
    err = io.StringIO()
    assert run(monkeypatch, "list", "angulars", stdout=full(), stderr=err) == 4
    assert err.getvalue() == "error: bad\n"


def test_files_that_were_written_are_named_where_the_result_is_lost(monkeypatch, tmp_path):
    def write(*arguments):
        with atomic.written_whole(tmp_path / "net.safetensors") as temporary:
            temporary.write_text("whole")
        render.line("wrote it")

    monkeypatch.setattr(render, "table", write)
    err = io.StringIO()
    assert run(monkeypatch, "list", "angulars", stdout=full(), stderr=err) == 1
    assert f"Written completely before that: {tmp_path / 'net.safetensors'}." in err.getvalue()


POOR = ["ascii", "latin-1", "cp1252", "koi8-r", "shift_jis", "utf-16"]
TEXT = "λ ≥ √π, 鳥, café, \udc9b"


@pytest.mark.parametrize("encoding", POOR)
def test_any_encoding_takes_any_text(monkeypatch, encoding):
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    with streams.guarded() as (stdout, _):
        render.line(TEXT)
        render.table(TEXT, ("λ", "b"), [(TEXT, 1)])
        render.pairs("", [(TEXT, 1)])
        render.exact_text(TEXT)
        render.yaml_text({"a": TEXT.rstrip("\udc9b")})
        render.json_object({"a": TEXT})
        sys.stdout.write(TEXT)
        assert stdout.lost is None
    shown = content.getvalue().decode(encoding)
    assert "caf" in shown
    assert "\udc9b" not in shown


@pytest.mark.parametrize("encoding", POOR)
def test_columns_stay_below_each_other_in_any_encoding(monkeypatch, encoding):
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding=encoding, newline="\n")
    assert run(monkeypatch, "list", "angulars", stdout=stream, stderr=io.StringIO()) == 0
    rows = content.getvalue().decode(encoding).splitlines()[1:]
    assert len({len(row.rstrip()) for row in rows}) == 1


@pytest.mark.parametrize("encoding", ["no such encoding", None])
def test_a_stream_may_have_no_encoding_that_python_knows(encoding):
    stream = io.StringIO()
    outlet = Outlet(type("Odd", (), {"encoding": encoding, "write": stream.write})())
    outlet.write(TEXT)
    assert "caf" in stream.getvalue()
    assert not outlet.isatty()
    assert outlet.lost is None


def test_an_outlet_takes_text_only():
    with pytest.raises(TypeError, match="bytes"):
        Outlet(io.StringIO()).write(b"a")


def test_nothing_goes_past_an_outlet():
    assert not hasattr(Outlet(io.TextIOWrapper(io.BytesIO())), "buffer")


def test_ctrl_c_passes(monkeypatch):
    outlet = Outlet(Failing(KeyboardInterrupt(), when="write"))
    with pytest.raises(KeyboardInterrupt):
        outlet.write("a")


COMMAND = [sys.executable, "-m", "covtool_cli"]


def sh(script, **environment):
    """Run a shell's words with $covtool in them: exit code, stdout, stderr."""
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "covtool": " ".join(COMMAND), **environment},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("$covtool --help > /dev/full", 1, "No space left on device"),
        ("$covtool --version >&-", 1, "It is closed"),
        ("$covtool nonsense 2> /dev/full", 2, ""),
        ("$covtool nonsense >&- 2>&- <&-", 2, ""),
        ("$covtool --help | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("$covtool nonsense 2>&1 | true; exit ${PIPESTATUS[0]}", 2, ""),
    ],
)
def test_python_adds_nothing_of_its_own_at_its_end(script, code, said):
    got, _, err = sh(script)
    assert got == code
    assert said in err
    assert "Exception" not in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == (2 if said else 0)


def test_a_closed_stdout_does_not_become_a_file_of_the_command(tmp_path):
    program = (
        "import os, sys\n"
        "from covtool_cli import streams\n"
        "with streams.guarded() as (stdout, _):\n"
        f"    file = open({str(tmp_path / 'net')!r}, 'wb')\n"
        "    numbers = [file.fileno()]\n"
        "    stdout.write('x')\n"
        "    sys.exit(0 if min(numbers) > 2 and stdout.lost == 'It is closed' else 9)\n"
    )
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" >&- <&-', sys.executable, program], capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_processes_of_a_command_notice_that_its_stdout_is_closed():
    program = (
        "import subprocess, sys\n"
        "from covtool_cli import streams\n"
        "with streams.guarded():\n"
        "    child = [sys.executable, '-m', 'covtool_cli', '--version']\n"
        "    code = subprocess.run(child).returncode\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" >&-', sys.executable, program], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "It is closed." in done.stderr


def test_a_slow_reader_is_waited_for():
    script = (
        "import fcntl, os, subprocess, sys, time, json\n"
        "read, write = os.pipe()\n"
        "os.set_blocking(write, False)\n"
        "if sys.platform == 'linux':\n"
        "    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)\n"  # less than what is written
        'child = subprocess.Popen([sys.executable, "-m", "covtool_cli", "list", "data", '
        '"--json"], stdout=write)\n'
        "os.close(write)\n"
        "time.sleep(0.1)\n"
        'text = open(read, encoding="utf-8").read()\n'
        "sys.exit(child.wait() or not json.loads(text) or len(text) < 8192)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


def test_json_that_was_delivered_is_whole(monkeypatch):
    out = io.StringIO()
    assert run(monkeypatch, "list", "angulars", "--json", stdout=out, stderr=None) == 0
    assert json.loads(out.getvalue())["angulars"]
