"""Damage to folders: odd names, links, pipes, and things that are no files. In place."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzzing.mutators import values
from fuzzing.mutators.mutator import Mutator

NAMES = (
    b"\x1b[2J", b"a\nb", b"a\rb", b"\xff\xfe", b"\xed\xa0\x80", b" ", b"-", b"--help", b"a" * 255,
    b"[red]x[/red]", b"%s", b"*", b"?", b"~", b"$HOME", b"'", b'"', b"\\", b"\xe2\x80\xae", b".x",
    b"...", b"x.", b"con", "\uff46".encode(), "e\u0301".encode(), b"0", b"-1", b"\x7f", b"a;b,c\td",
)  # fmt: skip

PLACES = ("/etc/passwd", "/dev/zero", "/dev/stdin", "/nowhere", "..", ".", "/", "/proc/self/mem")

_LARGEST_COPY = 1 << 24


def _any(folder: Path, random: Random, *, folders: bool = True) -> Path | None:
    found = sorted(path for path in folder.rglob("*") if folders or path.is_file())
    return random.choice(found) if found else None


def _copy(file: Path, to: Path | bytes) -> None:
    """Copy a file; one that is mostly holes would take minutes and the disk, and stays alone."""
    if file.stat().st_size <= _LARGEST_COPY:
        shutil.copy(os.fsencode(file), os.fsencode(to))


def rename(folder: Path, random: Random) -> None:
    """Another name for a file or folder; with the suffix, mostly."""
    path = _any(folder, random)
    new = random.choice(NAMES)
    if random.random() < 0.7:
        new = new[: 255 - len(path.suffix)] + os.fsencode(path.suffix)
    os.rename(path, os.path.join(os.fsencode(path.parent), new))  # noqa: PTH104, PTH118 -- bytes


def add_a_folder(folder: Path, random: Random) -> None:
    """One more, empty or with a copy of a file."""
    file = _any(folder, random, folders=False)
    made = os.path.join(os.fsencode(random.choice((folder, file.parent))), random.choice(NAMES))  # noqa: PTH118
    os.makedirs(made, exist_ok=True)  # noqa: PTH103
    if random.random() < 0.7:
        _copy(file, made)


def remove(folder: Path, random: Random) -> None:
    path = _any(folder, random)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def double(folder: Path, random: Random) -> None:
    """The same file under two names that differ in case or suffix only."""
    file = _any(folder, random, folders=False)
    name = random.choice((file.name.swapcase(), file.stem + file.suffix * 2, file.stem))
    _copy(file, file.parent / name)


def nest(folder: Path, random: Random) -> None:
    """Folders in folders, deeper than a path may be long."""
    inner = folder
    for _ in range(random.choice((2, 40, 90))):
        inner /= "deeper"
    inner.mkdir(parents=True)
    _copy(_any(folder, random, folders=False), inner / "x.png")


def _in_place_of_a_file(put: Callable[[Path, Random], None]) -> Callable[[Path, Random], None]:
    def change(folder: Path, random: Random) -> None:
        file = _any(folder, random, folders=False)
        if random.random() < 0.8:
            file.unlink()
        else:
            file = file.with_name(f"more{file.suffix}")
        put(file, random)

    return change


def _pipe(file: Path, random: Random) -> None:
    os.mkfifo(file)


def _link(file: Path, random: Random) -> None:
    file.symlink_to(random.choice((*PLACES, file.name, file.parent)))


def _folder(file: Path, random: Random) -> None:
    file.mkdir()


def _empty(file: Path, random: Random) -> None:
    file.write_bytes(random.choice((b"", b"\0", values.ESCAPES.encode())))


def _sparse(file: Path, random: Random) -> None:
    """Large, and nothing on the disk."""
    with file.open("wb") as content:
        content.truncate(random.choice((3 << 30, 200 << 30)))


IN_PLACE = {"pipe": _pipe, "link": _link, "folder": _folder, "empty": _empty, "sparse": _sparse}

TREE = (
    *(
        Mutator(change.__name__.replace("_", "-"), change)
        for change in (rename, rename, rename, add_a_folder, remove, double, nest)
    ),
    *(Mutator(f"a-{name}", _in_place_of_a_file(put)) for name, put in IN_PLACE.items()),
)
