"""Cases that were found, each by itself: they broke the promise once, and keep it now.

A row is a kind of the fuzzer, a file of it, what is done to that file, and what the file must lead
to: exit codes, or any that the calls may have.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fuzzing.case import Case, Prepared, prepare_folder
from fuzzing.kinds import BY_NAME
from fuzzing.mutators import arrays, tensor_headers, values
from fuzzing.mutators.archives import read_zip, write_zip
from fuzzing.mutators.pickles import chunks_of, integer, string
from fuzzing.running import make_seeds, run_call

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@dataclass(frozen=True)
class Found:
    """A case that was found.

    Attributes:
        kind, target: What is damaged; see `fuzzing.kinds`.
        damage: Makes the new bytes of the old ones, or changes the path itself and returns None.
        codes: With which the calls may end, if not with any that they may refuse with.
        most: Of the calls, so many.
    """

    kind: str
    target: str
    damage: Callable[[bytes], bytes] | None = None
    in_place: Callable[[Path], object] | None = None
    codes: frozenset[int] = field(default=frozenset())
    most: int = 2


def in_header(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        header, rest = tensor_headers.split(content)
        change(header)
        return tensor_headers.joined(json.dumps(header).encode(), rest)

    return changed


def in_recipe(*place: str, value: object) -> Callable[[bytes], bytes]:
    """A value in the recipe of one of covtool's files; ``operations`` stands for the first one."""

    def change(header: dict) -> None:
        recipe = around = json.loads(header["__metadata__"]["covtool.recipe"])
        for name in place[:-1]:
            around = around["operations"][0] if name == "operations" else around[name]
        around[place[-1]] = value
        header["__metadata__"]["covtool.recipe"] = json.dumps(recipe)

    return in_header(change)


def first_tensor(header: dict) -> dict:
    return next(entry for name, entry in header.items() if name != "__metadata__")


def in_pickle(kind: str, new: bytes, turn: int = 0) -> Callable[[bytes], bytes]:
    """An opcode of a kind in the pickle of torch's archive is another one."""

    def changed(content: bytes) -> bytes:
        members = read_zip(content)
        at = next(at for at, member in enumerate(members) if member.name.endswith("data.pkl"))
        chunks, rest = chunks_of(members[at].content)
        places = [place for place, (name, _, _) in enumerate(chunks) if name.startswith(kind)]
        chunks[places[turn]] = ("", None, new)
        data = b"".join(piece for _, _, piece in chunks) + rest
        members[at] = type(members[at])(members[at].name, data)
        return write_zip(members)

    return changed


def an_array(description: str, shape: str) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        members = read_zip(content)
        data = members[0].content[128:]
        members[0] = type(members[0])(members[0].name, arrays.array(description, shape, data))
        return write_zip(members)

    return changed


def always(content: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: content


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


BASE = ("recipe", "own.safetensors")
REFUSED = frozenset({3})
IMAGE = "toy/val/red/0.png"

FOUND = {
    # safetensors
    "no offsets": Found(
        "safetensors",
        "model.safetensors",
        in_header(lambda header: first_tensor(header).pop("data_offsets")),
        codes=REFUSED,
    ),
    "one offset": Found(
        "safetensors",
        "model.safetensors",
        in_header(lambda header: first_tensor(header).update(data_offsets=[0])),
        codes=REFUSED,
    ),
    "100,000 tensors": Found(
        "own-file",
        "own.safetensors",
        in_header(
            lambda header: header.update(
                {
                    f"x.{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                    for n in range(100_000)
                }
            )
        ),
        codes=REFUSED,
    ),
    "bits of tensors": Found(
        "own-file", "own.safetensors", lambda c: c[:-100] + bytes([c[-100] ^ 1]) + c[-99:],
        codes=REFUSED,
    ),
    # recipes
    "a hub": Found(*BASE, in_recipe("base", "name", value="hf-hub:evil/x"), codes=REFUSED),
    "a folder": Found(*BASE, in_recipe("base", "name", value="local-dir:/etc"), codes=REFUSED),
    "a file": Found(
        *BASE, in_recipe("base", "arguments", value={"checkpoint_path": "/etc/passwd"}),
        codes=REFUSED,
    ),
    "no weights": Found(
        *BASE, in_recipe("base", "arguments", value={"device": "meta"}), codes=REFUSED
    ),
    "four million layers": Found(
        *BASE, in_recipe("base", "arguments", value={"layers": [10**6] * 4}), codes=REFUSED
    ),
    "15,000 pixels": Found(*BASE, in_recipe("input", "size", value=[15000, 15000]), codes=REFUSED),
    "no deviation": Found(*BASE, in_recipe("input", "std", value=[0.0] * 3), codes=REFUSED),
    "10^9 steps": Found(*BASE, in_recipe("operations", "iterations", value=10**9), codes=REFUSED),
    "a tap that is not there": Found(
        *BASE, in_recipe("operations", "tap", value="layer9"), codes=REFUSED
    ),
    "a name that clears the screen": Found(
        *BASE, in_recipe("class_names", value=[values.ESCAPES, "b", "c"])
    ),
    # pickles
    "a size of 2^60": Found("torch-zip", "model.pth", in_pickle("BININT1", integer(2**60))),
    "a key of a storage that is not text": Found(
        "torch-zip", "model.pth", in_pickle("BINUNICODE", integer(7), turn=3)
    ),
    "an archive of nothing": Found(
        "torch-zip", "model.pth", always(b"PK\x05\x06" + bytes(18)), codes=REFUSED
    ),
    "a crop of nearly nothing": Found(
        *BASE, in_recipe("input", "crop_pct", value=1e-300), codes=REFUSED
    ),
    "a crop of a giant": Found(
        *BASE, in_recipe("input", value={"size": [4096, 4096], "crop_pct": 0.06}), codes=REFUSED
    ),
    "half a character": Found("torch-zip", "model.pth", in_pickle("BINUNICODE", string("\ud800"))),
    "a dump that is a list": Found(
        "replay-dump", "run/nonfinite.pt", in_pickle("EMPTY_DICT", b"]"), codes=frozenset({3, 4})
    ),
    # configuration
    "options that are not text": Found("config-yaml", "inspect.yaml", lambda c: c + b"# \xff\n"),
    "options that are a list": Found("config-yaml", "inspect.yaml", always(b"- a\n")),
    "a billion laughs": Found(
        "recipe-yaml",
        "recipe.yaml",
        always(
            b'a0: &a0 ["lol"]\n'
            + b"\n".join(
                b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9))
                for n in range(1, 12)
            )
        ),
        codes=frozenset({2}),
    ),
    # images and lists
    "PostScript": Found("images", IMAGE, always(EPS)),
    "a pipe": Found("class-folders", IMAGE, in_place=instead(os.mkfifo)),
    "a device": Found(
        "class-folders", IMAGE, in_place=instead(lambda path: path.symlink_to("/dev/zero"))
    ),
    "NUL in a list": Found("path-list", "images.txt", always(b"toy/val/red/\0.png\n")),
    "escapes in a list": Found("path-list", "images.txt", always(b"toy/\x1b[2J.png\n")),
    "a name of 5,000 characters": Found("path-list", "images.txt", always(b"a" * 5000 + b"\n")),
    "an array of objects": Found("features", "features.npz", an_array("'|O'", "(9, 10)")),
    "a terabyte of features": Found("features", "features.npz", an_array("'<f4'", "(10**12,)")),
    "lists that lead into themselves": Found(
        "published-retrieval",
        "data/msmt17/list_train.txt",
        in_place=instead(lambda path: path.symlink_to(path.name)),
    ),
    # runs
    "arguments that are brackets": Found("run", "run/args.yaml", always(b"[" * 100_000)),
    "curves that are no JSON": Found("run", "run/metrics.jsonl", lambda c: c[7:]),
    "epochs that are no numbers": Found(
        "run", "run/summary.csv", lambda c: c.replace(b"\n1,", b"\nx,")
    ),
    "plots of no numbers": Found(
        "svdnet-run", "run/summary.csv", lambda c: c.replace(b"rank1", b"rank_1")
    ),
}  # fmt: skip


@pytest.mark.parametrize("found", FOUND.values(), ids=FOUND)
def test_what_was_found_keeps_the_promise_now(found, seeds, tmp_path):
    kind = BY_NAME[found.kind]
    make_seeds(kind, seeds)
    prepare_folder(kind, seeds, tmp_path)
    file = tmp_path / "case" / found.target
    if found.in_place is not None:
        found.in_place(file)
    else:
        file.write_bytes(found.damage(file.read_bytes()))
    target = found.target if found.target in kind.targets else next(iter(kind.targets))
    prepared = Prepared(Case(kind, 0, 0), found.target, (), (), is_whole=False)
    for call in kind.reading(target)[: found.most]:
        report = run_call(call.on(found.target), prepared, tmp_path)
        assert not report.broken, report
        assert report.code in (found.codes or {0, *call.refusals})
