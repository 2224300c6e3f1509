"""A case: a folder with one damaged file, and the calls that read it. Follows from the seed."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzzing.kinds import Call, Kind
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

    def drawn(self) -> tuple[str, list[Mutator], list[Call], Random]:
        """The target, the mutators, the calls, and the generator that goes on with the bytes."""
        random = Random(self.name)
        target = random.choice(list(self.kind.targets))
        rows = self.kind.targets[target]
        weights = [row.weight for row in rows]
        mutators = random.choices(rows, weights, k=random.choice((1, 1, 1, 1, 2, 3)))
        reading = [c for c in self.kind.calls if target in c.words] or list(self.kind.calls)
        calls = random.sample(reading, min(MOST_CALLS, len(reading)))
        return target, mutators, calls, random

    def prepare(self, seeds: Path, folder: Path) -> "Prepared":
        """Fill `folder` with the case: ``case``, and empty places for what should stay empty."""
        target, mutators, calls, random = self.drawn()
        shutil.copytree(seeds / self.kind.name, folder / "case")
        for place in ("tmp", "home"):
            (folder / place).mkdir()
        file = folder / "case" / target
        content = whole = file.read_bytes()
        done = []
        for mutator in mutators:
            try:
                content = mutator.change(content, random)
                done.append(mutator)
            except Exception:
                continue
        file.unlink()  # it may have a second name
        file.write_bytes(content)
        return Prepared(self, target, tuple(done), tuple(calls), content, content == whole)


@dataclass(frozen=True)
class Prepared:
    """A case whose files are there.

    Attributes:
        target: The damaged file.
        mutators: How it was damaged.
        calls: What reads it.
        content: Its bytes.
        is_whole: The damage changed nothing.
    """

    case: Case
    target: str
    mutators: tuple[Mutator, ...]
    calls: tuple[Call, ...]
    content: bytes
    is_whole: bool

    @property
    def only_tensors_differ(self) -> bool:
        """Nothing but a checksum can tell it from a whole file, and it carries one."""
        checksummed = self.target in self.case.kind.checksummed
        changed = bool(self.mutators) and all(row.of_tensors for row in self.mutators)
        return checksummed and changed and not self.is_whole

    def size(self, folder: Path) -> int:
        """Bytes of all files of the case."""
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
