"""What a row of the table of kinds is: files, how they are damaged, calls that read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from fuzzing.calling import command_line
from fuzzing.mutators.mutator import Mutator


@dataclass(frozen=True)
class Call:
    """A call that reads a damaged file.

    Attributes:
        words: The command line; paths are those of the folder ``case``, where it runs.
        refusals: Exit codes with which it may refuse what it reads.
        writes: What it may leave behind where it succeeds: paths that begin so.
        run: What takes the words; a function of the library instead of the command line.
        follows_paths: The file may name files elsewhere, or be a link in a folder that leads there,
            which are then read.
    """

    words: tuple[str, ...]
    refusals: frozenset[int]
    writes: tuple[str, ...] = ()
    run: Callable[[list[str]], object] = command_line
    follows_paths: bool = False

    def on(self, target: str) -> "Call":
        """The call on the folder that a target is in, where it says ``{top}``: ``data/cub``."""
        top = "/".join(target.split("/")[:2])
        return replace(self, words=tuple(word.replace("{top}", top) for word in self.words))

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: Its name on the command line of the fuzzer.
        make: Fills a folder with whole files.
        targets: Files in that folder of which a case damages one, and how; patterns of files, too,
            or folders, which mutators of trees damage in place.
        calls: What reads them; a case makes some of the calls.
        checksummed: Targets whose tensors carry a checksum, so that a change in them is refused.
        needs: A package without which the kind cannot be read.
        whole_code: Exit code for the whole files, which may be refused as well.
    """

    name: str
    make: Callable[[Path], None]
    targets: Mapping[str, tuple[Mutator, ...]]
    calls: tuple[Call, ...]
    checksummed: tuple[str, ...] = field(default=())
    needs: str | None = None
    whole_code: int = 0

    def matching(self, pattern: str, seeds: Path) -> list[str]:
        """The targets in the whole files that a pattern means."""
        if "*" not in pattern:
            return [pattern]
        folder = seeds / self.name
        return sorted(str(file.relative_to(folder)) for file in folder.glob(pattern))

    def reading(self, target: str) -> list[Call]:
        """The calls that read a target: not those that name another one."""
        others = set(self.targets) - {target}
        return [call for call in self.calls if not others & set(call.words)]

    @property
    def is_readable(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None
