"""The resume states of a run: written whole, read back, and never fewer than one that is good.

last.pt        the newest state
previous.pt    the one before it, should the newest not be readable
best.pt        of the best epoch
epoch-N.pt     of the best few epochs
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from covtool.atomic import saving, written_whole
from covtool.checkpoints import pickles
from covtool.checkpoints.pickles import PickleError
from covtool.errors import SaveError

NEWEST = "last"
PREVIOUS = "previous"


class CheckpointStore:
    """A folder of resume states.

    Args:
        folder: Folder of the states, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the state called ``last``, ``previous``, ``best`` or ``epoch-N``."""
        return self.folder / f"{name}.pt"

    def candidates(self) -> tuple[Path, ...]:
        """Return the states to resume from that are there, the newest first."""
        paths = (self.path(name) for name in (NEWEST, PREVIOUS))
        return tuple(path for path in paths if path.is_file())

    def save(self, payload: Mapping[str, Any], also_as: Iterable[str] = ()) -> None:
        """Write a state as last.pt, and the same under other names; the old last.pt stays.

        Raises:
            SaveError: It cannot be written, or does not read back the same. Every state that was
                there is as it was.
        """
        newest = self.path(NEWEST)
        try:
            with written_whole(newest) as temporary:
                _write_checked(payload, temporary)
                if newest.exists():  # the old one gets its second name before it is replaced
                    self._name(newest, PREVIOUS)
            for name in also_as:
                self._name(newest, name)
        except SaveError as problem:  # of another name of the same state, perhaps
            raise SaveError.of(newest, problem.__cause__ or problem) from problem

    def give_up_newest(self) -> None:
        """Put the previous state in the place of a newest one that cannot be read."""
        self._name(self.path(PREVIOUS), NEWEST)

    def name_newest(self, names: Iterable[str]) -> None:
        """Give the newest state more names, where a killed run did not get to it."""
        for name in names:
            self._name(self.path(NEWEST), name)

    def keep_epochs(self, epochs: Iterable[int]) -> None:
        """Remove every epoch-N.pt but those of `epochs`, counted from 1.

        Raises:
            SaveError: The system refuses.
        """
        wanted = {self.path(f"epoch-{epoch}") for epoch in epochs}
        for path in self.folder.glob("epoch-*.pt"):
            if path not in wanted:
                with saving(path):
                    path.unlink()

    def _name(self, state: Path, name: str) -> None:
        with written_whole(self.path(name)) as temporary:
            temporary.unlink()  # a link is made, not written into
            _link(state, temporary)


def require_whole(path: Path) -> None:
    """Compare everything in a state with the checksums that `torch.save` writes; loading does not.

    Raises:
        OSError: Something is missing or damaged.
    """
    try:
        pickles.require_whole(path)
    except PickleError as problem:
        raise OSError(str(problem)) from problem


def _write_checked(payload: Mapping[str, Any], path: Path) -> None:
    """Save, and read back.

    Raises:
        OSError: Either failed.
    """
    try:
        with path.open("wb") as file:
            torch.save(dict(payload), file)
    except RuntimeError as problem:  # torch's own, on the way out of a write that failed
        raise _reason(problem) from problem
    require_whole(path)  # a disk may report a write as done that it has lost


def _reason(problem: BaseException) -> OSError:
    """Return the failed write that an error came after."""
    # torch closes its archive on the way out, and that error hides the system's.
    before: BaseException | None = problem
    while before is not None and not isinstance(before, OSError):
        before = before.__context__
    return before or OSError(str(problem).splitlines()[0])


def _link(source: Path, target: Path) -> None:
    """Give the same content a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
