"""Files of other code bases under timm's and torchvision's names."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Reading, Tensors
from covtool.checkpoints.code_bases.misfits import read_or_none
from covtool.checkpoints.code_bases.normalizers import take_normalizer
from covtool.checkpoints.code_bases.renaming import any_matches, new_name, renamed
from covtool.checkpoints.code_bases.reparametrizations import fold_reparametrizations
from covtool.checkpoints.code_bases.table import CODE_BASES

MAX_COPIES = 4  # of a network in one file (student, teacher, key encoder), each read for itself
_MOST_TRIED = 16  # prefixes of the first sign that are looked at for the others


def read_code_bases(
    tensors: Tensors, *, config: Mapping[str, Any] | None = None
) -> Iterator[Reading]:
    """Yield every reading of a file by a row whose signs it has, the row with most signs first.

    Weight norm and spectral norm are folded, and a normalizer inside the network is taken off
    beforehand; where a file has these but no row's signs, one reading says just that.

    Args:
        tensors: Under the file's own names, with whatever is in front of them. Left as they are.
        config: Content of ``config.json`` beside the file.
    """
    plain, notes = fold_reparametrizations(tensors)
    normalized = take_normalizer(plain)
    statement = Findings(notes=notes)
    if normalized is not None:
        plain = normalized.tensors
        statement = Findings(
            notes=(*notes, normalized.note),
            unused=normalized.unused,
            input={"mean": normalized.mean, "std": normalized.std},
        )
    listed = _listed(plain)
    rows = [row for row in CODE_BASES if has_signs(row, listed)]
    for row in sorted(rows, key=lambda row: -len(row.signs)):
        for prefix in _prefixes(row, plain)[:MAX_COPIES]:
            reading = read_or_none(lambda r=row, p=prefix: _read(r, plain, p, config or {}))
            if reading is not None:
                yield _with(statement, reading)
    if statement != Findings():
        yield _with(statement, Reading(code_base="", summary="", tensors=plain))


def recognized_by_signs(names: Iterable[str]) -> CodeBase | None:
    """Return the row with most signs among those whose signs are all there; None where none is."""
    listed = _listed(names)
    rows = [row for row in CODE_BASES if has_signs(row, listed)]
    return max(rows, key=lambda row: len(row.signs), default=None)


def has_signs(row: CodeBase, listed: str) -> bool:
    """Return whether names, one on each line, show every sign of a row."""
    return all(_found(sign, listed) for sign in row.signs)


def _prefixes(row: CodeBase, names: Iterable[str]) -> list[str]:
    """Return prefixes of the row's own names, first that of most names with its first sign."""
    names = list(names)
    matches = ((name, _found(row.signs[0], name)) for name in names)
    found = Counter(name[: match.start()] for name, match in matches if match)
    # All names together may show signs of which no single prefix has all.
    tried = sorted(found, key=lambda prefix: -found[prefix])[:_MOST_TRIED]
    below = ((p, _listed(n.removeprefix(p) for n in names if n.startswith(p))) for p in tried)
    return [prefix for prefix, listed in below if has_signs(row, listed)]


def _listed(names: Iterable[str]) -> str:
    return "\n".join(names)


def _read(row: CodeBase, tensors: Tensors, prefix: str, config: Mapping[str, Any]) -> Reading:
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    own = {_unshared(n, prefix): n for n in tensors if not n.startswith(prefix)}
    beside = {short: tensors[name] for short, name in own.items()}
    statement = row.says(Part(inside=inside, beside=beside, config=config))
    left_out = {n for n in inside if n in statement.unused or any_matches(row.unused, n)}
    new = renamed({n: t for n, t in inside.items() if n not in left_out}, row.rules)
    unused = [f"{prefix}{name}" for name in inside if name in left_out]
    for short, tensor in beside.items():
        is_known = any_matches((pattern for pattern, _ in row.beside), short)
        name = new_name(short, row.beside) if is_known else own[short]
        if short in statement.unused or any_matches(row.unused_beside, short):
            unused.append(own[short])
        # A tensor of the network beats one beside it that gets the same name.
        elif name not in new:
            new[name] = tensor
    for step in row.steps:
        new = step(new)
    return Reading(
        code_base=row.name,
        summary=row.summary,
        tensors=new,
        unused=tuple(unused),
        arguments=statement.arguments,
        prefers=statement.prefers,
        input=statement.input,
        notes=statement.notes,
        refusal=statement.refusal,
    )


def _unshared(name: str, prefix: str) -> str:
    """Return a name without the leading parts that it shares with the prefix of the network."""
    parts = prefix.split(".")[:-1]
    while parts and name.startswith(f"{parts[0]}."):
        name = name.removeprefix(f"{parts.pop(0)}.")
    return name


def _with(statement: Findings, reading: Reading) -> Reading:
    return replace(
        reading,
        unused=(*statement.unused, *reading.unused),
        # The file's own normalizer beats what its code base usually takes.
        input={**reading.input, **statement.input},
        notes=(*statement.notes, *reading.notes),
    )


def _found(sign: str, listed: str) -> re.Match[str] | None:
    """Return the first match of a sign at the beginning of one of a name's parts."""
    # A pattern that begins with letters is found much faster than one with an anchor before them.
    matches = _sign(sign).finditer(listed)
    return next((m for m in matches if m.start() == 0 or listed[m.start() - 1] in ".\n"), None)


@cache
def _sign(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)
