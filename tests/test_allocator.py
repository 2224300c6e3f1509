"""What is freed is kept, and the user's own settings are left alone."""

import subprocess
import sys

import pytest

from covtool import allocator

FAULTS = """
import resource, sys
import torch
from covtool import allocator
told = allocator.keep_freed_memory() if sys.argv[1] == "keep" else None

def use(times):
    for _ in range(times):
        torch.empty(40 * 2**20, dtype=torch.uint8).fill_(1)

use(10)  # what lies between two aligned blocks keeps a few of them apart
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(3)
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 3 * 40 * 2**20 // 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_blocks_that_were_freed_are_used_again():
    def faults(how):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
        )
        told, count = done.stdout.split()
        return told, int(count)

    told, kept = faults("keep")
    if told == "False":
        pytest.skip("the environment has settings of its own, or another C library")
    assert kept < PAGES / 100


GROWN = """
from pathlib import Path
import torch
from covtool.allocator import giving_back, keep_freed_memory, keeping_again

def grown(size):
    pages = lambda: int(Path("/proc/self/statm").read_text().split()[1])
    before = pages()
    torch.empty(size * 2**20, dtype=torch.uint8).fill_(1)
    return (pages() - before) * 4096 / 2**20 / size

with giving_back(), keeping_again():  # nothing to change yet
    pass
told = keep_freed_memory()
with giving_back():
    inside = grown(100)
    with keeping_again():
        again = grown(200)
    last = grown(400)
print(told, inside, again, last, grown(800))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_work_of_bounded_memory_gives_back_what_it_has_freed():
    done = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True)
    told, *shares = done.stdout.split()
    if told == "False":
        pytest.skip("the environment has settings of its own, or another C library")
    inside, again, last, after = map(float, shares)
    assert inside < 0.1
    assert last < 0.1
    # A larger block may begin where a smaller one was kept.
    assert again > 0.4
    assert after > 0.4


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_ARENA_MAX": "2"},
        {"MALLOC_TRIM_THRESHOLD_": "1"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=5"},
    ],
)
def test_settings_of_the_environment_are_left_alone(environment, monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("told"))
    assert not allocator.keep_freed_memory(environment)


class Other:
    """A C library that knows neither."""


class Named:
    """glibc by its name, with an allocator that refuses."""

    gnu_get_libc_version = None

    @staticmethod
    def mallopt(parameter, value):
        return 0


def windows(name):
    raise TypeError("LoadLibrary() argument 1 must be str, not None")


@pytest.mark.parametrize("library", [lambda name: Other(), lambda name: Named(), windows])
def test_other_c_libraries_are_left_alone(library, monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", library)
    assert not allocator.keep_freed_memory({})
