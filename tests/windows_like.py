"""What a program finds on Windows, for covtool alone: the libraries below it keep the system as is.

Taken away are the modules and the functions that Windows does not have. What is there behaves as
there: a folder cannot be opened, only a file that is open for writing can be synced, and a file
that is open can be neither removed nor replaced. `os.name` stays: the standard library would
take itself for that of Windows.
"""

import builtins
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import filelock

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}

OF_OS = {
    *("O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
    *("chown", "fchmod", "fchown", "lchown", "fork", "forkpty", "register_at_fork", "wait"),
    *("waitpid", "waitid", "wait3", "wait4", "killpg", "nice", "setsid", "setpgid", "getpgid"),
    *("getpgrp", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getpriority", "uname"),
    *("statvfs", "fstatvfs", "sysconf", "confstr", "pathconf", "getloadavg", "sched_getaffinity"),
    *("pread", "pwrite", "preadv", "pwritev", "readv", "writev", "sendfile", "copy_file_range"),
    *("posix_fadvise", "posix_fallocate", "fdatasync", "sync", "mkfifo", "mknod", "openpty"),
    *("get_blocking", "set_blocking", "memfd_create", "eventfd", "getxattr", "setxattr", "lockf"),
}
OF_SIGNAL = {
    *("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "SIGPIPE"),
    *("alarm", "setitimer", "pthread_sigmask", "pthread_kill", "sigwait", "sigwaitinfo", "pause"),
}


class _Without(ModuleType):
    """A module without some of its names, and with others of its own."""

    def __init__(self, module, names, **own):
        super().__init__(module.__name__)
        self.__dict__.update(own)
        self._module, self._names = module, names

    def __getattr__(self, name):
        if name in self._names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._module, name)


def become_windows_like():
    """Change this process for good: covtool is imported anew, as on Windows."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    stand_ins = {
        "os": _Without(os, OF_OS, open=_open, fsync=_fsync, O_BINARY=0),
        "signal": _Without(signal, OF_SIGNAL),
    }
    real = builtins.__import__

    def import_(name, globals=None, locals=None, fromlist=(), level=0):
        is_ours = ((globals or {}).get("__name__") or "").partition(".")[0] in OURS
        if is_ours and not level:
            if name.partition(".")[0] in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in stand_ins:
                return stand_ins[name]
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = import_
    for name in ("unlink", "remove", "rmdir", "replace", "rename"):
        setattr(os, name, _refused_of_open_files(getattr(os, name)))
    _let_filelock_remove_its_files()


OURS = ("covtool", "covtool_cli")


def _open(path, flags, *rest, **named):
    if Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return REAL_OPEN(path, flags, *rest, **named)


def _fsync(handle):
    text = Path(f"/proc/self/fdinfo/{handle}").read_text()
    flags = int(next(line.split()[1] for line in text.splitlines() if line.startswith("flags")), 8)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(handle)


def _refused_of_open_files(function):
    def call(*paths, **named):
        caller = sys._getframe(1).f_globals.get("__name__")
        if caller != "tempfile":  # which has files on Windows that go when they are closed
            folder = next((named[n] for n in ("dir_fd", "src_dir_fd") if named.get(n)), None)
            here = Path("" if folder is None else f"/proc/self/fd/{folder}")
            for path in paths:
                if os.path.realpath(here / os.fsdecode(path)) in _open_files():
                    raise PermissionError(
                        errno.EACCES, "It is being used by another process", os.fsdecode(path)
                    )
        return function(*paths, **named)

    return call


def _open_files():
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(handle.readlink()))
    with Path("/proc/self/maps").open(errors="surrogateescape") as lines:
        found |= {line.rstrip("\n").split(maxsplit=5)[-1] for line in lines if "/" in line}
    return found


def _let_filelock_remove_its_files():
    release = filelock.FileLock._release

    def released(self):
        release(self)
        with suppress(OSError):
            Path(self.lock_file).unlink()

    filelock.FileLock._release = released


REAL_OPEN = os.open
