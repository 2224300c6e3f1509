"""The kind of a file by its first bytes, as its name may be wrong."""

import re
from pathlib import Path
from typing import Literal

from covtool.checkpoints.other_files import require_no_program, written_kind
from covtool.checkpoints.pickles import MappedFile, PickleError
from covtool.checkpoints.places import SUFFIXES
from covtool.checkpoints.unreadable import DOWNLOAD_AGAIN, damaged, refused
from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.regular_files import opened
from covtool.safetensors_header import LENGTH_BYTES

Format = Literal["zip", "legacy", "safetensors"]


# torch.serialization.MAGIC_NUMBER, as the protocols of pickle write it: 2 to 5, and 0 and 1
_LEGACY_MAGIC = re.compile(
    rb"\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.|L119547037146038801333356L\n\.",
    re.DOTALL,
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # PK alone may begin the length of a safetensors header
_BEGINNING = 512  # bytes of a file that are looked at
_TAR = slice(257, 262)  # where tar archives say that they are
_OLDEST_ENTRIES = (b"sys_info", b"pickle", b"tensors", b"storages")  # of torch's first format
_OLDEST_WAY_OUT = (
    "Where it was made, load it with that version and save its tensors with a newer one."
)
_MODEL_FIRST = (
    f"Give a file with tensors: {', '.join(SUFFIXES)}. Where a command takes images, they come "
    "after the model."
)
_KNOWN_STARTS = {
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file that it stands for",
        "Fetch the file itself: git lfs pull.",
    ),
    b"\xff\xd8\xff": ("a JPEG image", _MODEL_FIRST),
    b"\x89PNG": ("a PNG image", _MODEL_FIRST),
    b"GIF8": ("a GIF image", _MODEL_FIRST),
    b"\x89HDF": ("an HDF5 file, as Keras writes", "Export the weights with torch.save."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it first, and name the file in it."),
    b"\xfd7zXZ": ("an xz archive", "Unpack it first, and name the file in it."),
    b"%PDF": ("a PDF document", None),
    b"\x93NUMPY": ("a NumPy array", None),
    b"\x80": (
        "a Python pickle that torch.save did not write",
        "Where it was made, write the tensors with torch.save(state_dict, PATH).",
    ),
    b"\x08": ("a protocol buffer, perhaps of TensorFlow", "Give the PyTorch weights."),
}


def file_format(path: Path) -> Format:
    """Return the format of a checkpoint file.

    Raises:
        CheckpointError: There is no such file, or it is not a checkpoint.
    """
    start = _beginning(path)
    if start.startswith(_ZIP):
        _require_torch_archive(path)
        return "zip"
    if _LEGACY_MAGIC.match(start):
        return "legacy"
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        return "safetensors"  # whose header is checked by whoever reads it
    raise _no_checkpoint(path, start)


def _beginning(path: Path) -> bytes:
    try:
        with opened(path) as file:
            start = file.read(_BEGINNING)
    except OSError as problem:
        raise refused(path, problem) from problem
    if not start:
        raise CheckpointError(
            f"{path} is empty.", reason="The file has 0 bytes.", hint=DOWNLOAD_AGAIN
        )
    return start


def _require_torch_archive(path: Path) -> None:
    try:
        names = {name.rpartition("/")[2] for name in MappedFile(path).entries()}
    except PickleError as problem:
        raise damaged(path, printable(str(problem))) from problem
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript program, not a checkpoint.",
            reason="It holds code, which covtool does not run.",
            hint="Where you trust it: torch.save(torch.jit.load(PATH).state_dict(), NEW_PATH).",
        )
    if "data.pkl" not in names:
        require_no_program(path, names)
        raise CheckpointError(
            f"{path} is a zip archive, but not one that torch.save wrote.",
            reason=f"It holds {', '.join(map(printable, sorted(names)[:4])) or 'nothing'}.",
            hint="Give the checkpoint itself; unpack the archive if it is in there.",
        )


def _no_checkpoint(path: Path, start: bytes) -> CheckpointError:
    if start[_TAR] == b"ustar":
        raise _tar_archive(path, start)
    known = (kind for begin, kind in _KNOWN_STARTS.items() if start.startswith(begin))
    what, hint = written_kind(start) or next(known, None) or _text_or_unknown(start)
    return CheckpointError(
        f"{path} is not a checkpoint.",
        reason=f"It is {what}.",
        hint=hint or f"Give a file with tensors: {', '.join(SUFFIXES)}.",
    )


def _tar_archive(path: Path, start: bytes) -> CheckpointError:
    of_torch = start.split(b"\0", 1)[0] in _OLDEST_ENTRIES
    return CheckpointError(
        f"{path} is not a checkpoint that can be read.",
        reason=f"It is a tar archive{', as torch wrote before version 0.2' if of_torch else ''}.",
        hint=_OLDEST_WAY_OUT if of_torch else "Unpack it first, and name the file in it.",
    )


def _text_or_unknown(start: bytes) -> tuple[str, str | None]:
    lower = start.lstrip().lower()
    if lower.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page", "The download gave a page instead of the file: use the direct address."
    try:
        start.decode("utf-8")
    except UnicodeDecodeError:
        return f"neither torch's format nor safetensors; it starts with {start[:4]!r}", None
    return "text", None
