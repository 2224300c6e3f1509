"""A case: a folder with one damaged file, and the calls that read it. Follows from the seed."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzzing.kind import Call, Kind
from fuzzing.mutators.mutator import Mutator

MOST_CALLS = 2  # of those that a kind has; more cases say more than more calls


@dataclass(frozen=True)
class Case:
    """What is damaged how, and read by what.

    Attributes:
        kind: Its row.
        seed: Of the whole run.
        number: Among the cases of this kind.
    """

    kind: Kind
    seed: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind.name}-{self.seed}-{self.number}"

    def drawn(self, seeds: Path) -> tuple[str, list[Mutator], list[Call], Random]:
        """The target, the mutators, the calls, and the generator that goes on with the bytes."""
        random = Random(self.name)
        pattern = random.choice(list(self.kind.targets))
        target = random.choice(self.kind.matching(pattern, seeds))
        rows = self.kind.targets[pattern]
        weights = [row.weight for row in rows]
        mutators = random.choices(rows, weights, k=random.choice((1, 1, 1, 1, 2, 3)))
        reading = self.kind.reading(pattern)
        calls = random.sample(reading, min(MOST_CALLS, len(reading)))
        return target, mutators, [call.on(target) for call in calls], random

    def prepare(self, seeds: Path, folder: Path) -> "Prepared":
        """Fill `folder` with the case: ``case``, and empty places for what should stay empty."""
        target, mutators, calls, random = self.drawn(seeds)
        prepare_folder(self.kind, seeds, folder)
        damage = _damage_folder if (folder / "case" / target).is_dir() else _damage_file
        done, is_whole = damage(folder / "case" / target, mutators, random)
        return Prepared(self, target, done, tuple(calls), is_whole)


def prepare_folder(kind: Kind, seeds: Path, folder: Path) -> None:
    """Fill `folder` with the whole files of a kind, and empty places for what should stay empty."""
    shutil.copytree(seeds / kind.name, folder / "case")
    for place in ("tmp", "home"):
        (folder / place).mkdir()


def _damage_file(
    file: Path, mutators: list[Mutator], random: Random
) -> tuple[tuple[Mutator, ...], bool]:
    """What was done to a file, and whether it is still as it was."""
    content = whole = file.read_bytes()
    done = []
    for mutator in mutators:
        try:
            content = mutator.change(content, random)
            done.append(mutator)
        except Exception:  # an earlier one left nothing that it can read
            continue
    file.unlink()  # it may have a second name
    file.write_bytes(content)
    return tuple(done), content == whole


def _damage_folder(
    folder: Path, mutators: list[Mutator], random: Random
) -> tuple[tuple[Mutator, ...], bool]:
    done = []
    for mutator in mutators:
        try:
            mutator.change(folder, random)
            done.append(mutator)
        except (OSError, AttributeError):  # there is no file left, or the name is taken
            continue
    return tuple(done), not done


@dataclass(frozen=True)
class Prepared:
    """A case whose files are there.

    Attributes:
        target: The damaged file.
        mutators: How it was damaged.
        calls: What reads it.
        is_whole: The damage changed nothing.
    """

    case: Case
    target: str
    mutators: tuple[Mutator, ...]
    calls: tuple[Call, ...]
    is_whole: bool

    @property
    def only_tensors_differ(self) -> bool:
        """Nothing but a checksum can tell it from a whole file, and it carries one."""
        checksummed = self.target in self.case.kind.checksummed
        changed = bool(self.mutators) and all(row.of_tensors for row in self.mutators)
        return checksummed and changed and not self.is_whole

    def size(self, folder: Path) -> int:
        """Bytes of all files of the case."""
        walked = ((Path(at), names) for at, _, names in os.walk(folder))
        files = (at / name for at, names in walked for name in names)
        return sum(512 * file.lstat().st_blocks for file in files)
