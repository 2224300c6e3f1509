"""What kind of file something is, by its first bytes; its name may say anything."""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from covtool.checkpoints.pickles import MappedFile, PickleError
from covtool.errors import CheckpointError
from covtool.printable import printable

Format = Literal["zip", "legacy", "safetensors"]

SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt")


def stem_of(source: str) -> str:
    """What a file or a model is called, without folder, ``torchvision:``, ``hf-hub:`` and suffix.

    Example:
        >>> stem_of("runs/resnet50.pth.tar"), stem_of("torchvision:resnet50")
        ('resnet50', 'resnet50')
    """
    name = Path(source.rsplit(":", 1)[-1]).name
    while name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return name


DOWNLOAD_AGAIN = "Download or copy it again, and compare the sizes."

# torch.serialization.MAGIC_NUMBER, as the protocols of pickle write it: 2 to 5, and 0 and 1
_LEGACY_MAGIC = re.compile(
    rb"\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.|L119547037146038801333356L\n\.",
    re.DOTALL,
)
_HEADER_LENGTH = 8  # safetensors: the length of the JSON header, little-endian, then the header
_TAR = slice(257, 262)  # where tar archives say that they are
_OLDEST_ENTRIES = (b"sys_info", b"pickle", b"tensors", b"storages")  # of torch's first format
_OLDEST_WAY_OUT = (
    "Where it was made, load it with that version and save its tensors with a newer one."
)
_KNOWN_STARTS = {
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file that it stands for",
        "Fetch the file itself: git lfs pull.",
    ),
    b"\xff\xd8\xff": ("a JPEG image", None),
    b"\x89PNG": ("a PNG image", None),
    b"GIF8": ("a GIF image", None),
    b"\x89HDF": ("an HDF5 file, as Keras writes", "Export the weights with torch.save."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it first, and name the file in it."),
    b"\xfd7zXZ": ("an xz archive", "Unpack it first, and name the file in it."),
    b"%PDF": ("a PDF document", None),
    b"\x93NUMPY": ("a NumPy array", None),
    b"\x80": (
        "a Python pickle that torch.save did not write",
        "Where it was made, write the tensors with torch.save(state_dict, PATH).",
    ),
    b"\x08": ("a protocol buffer, perhaps ONNX or TensorFlow", "Give the PyTorch weights."),
}


def file_format(path: Path) -> Format:
    """The format of a checkpoint file.

    Raises:
        CheckpointError: There is no such file, or it is no checkpoint.
    """
    _require_file(path)
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK"):
        _require_torch_archive(path)
        return "zip"
    if _LEGACY_MAGIC.match(start):
        return "legacy"
    if start[_HEADER_LENGTH : _HEADER_LENGTH + 1] == b"{":
        _require_whole_safetensors(path)
        return "safetensors"
    raise _no_checkpoint(path, start)


def _require_file(path: Path) -> None:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES)
        raise CheckpointError(
            f"{path} is a folder, not a checkpoint.",
            reason="A checkpoint is one file.",
            hint=f"In it are: {', '.join(inside[:8])}." if inside else "Name a file.",
        )
    if not path.is_file():
        raise missing_file(path)
    if path.stat().st_size == 0:
        raise CheckpointError(
            f"{path} is empty.", reason="The file has 0 bytes.", hint=DOWNLOAD_AGAIN
        )


def missing_file(path: Path) -> CheckpointError:
    """There is no such file; the folder's similar names are suggested."""
    if not path.parent.is_dir():
        reason = f"There is no folder {path.parent}."
        return CheckpointError(f"{path} does not exist.", reason=reason, hint="Check it.")
    names = sorted(p.name for p in path.parent.iterdir())
    near = get_close_matches(path.name, names, n=3, cutoff=0.5)
    fallback = "Check the name, and the folder that you are in."
    return CheckpointError(
        f"{path} does not exist.",
        reason=f"The folder {path.parent.resolve()} has no file of that name.",
        hint=f"Did you mean {', '.join(near)}?" if near else fallback,
    )


def damaged(path: Path, reason: str) -> CheckpointError:
    """A file starts like a checkpoint, and cannot be read to its end."""
    return CheckpointError(f"{path} is damaged or cut short.", reason=reason, hint=DOWNLOAD_AGAIN)


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
        raise CheckpointError(
            f"{path} is a zip archive, but not one that torch.save wrote.",
            reason=f"It holds {', '.join(map(printable, sorted(names)[:4]))}.",
            hint="Give the checkpoint itself; unpack the archive if it is in there.",
        )


def _require_whole_safetensors(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        if length > size - _HEADER_LENGTH:
            raise damaged(path, f"Its header should have {length:,} bytes; the file has {size:,}.")
        try:
            header = json.loads(file.read(length))
        except ValueError as problem:
            raise damaged(path, f"Its header is no JSON: {problem}.") from problem
    ends = [e["data_offsets"][1] for n, e in header.items() if n != "__metadata__"]
    expected = _HEADER_LENGTH + length + max(ends, default=0)
    if size != expected:
        raise damaged(path, f"Its header promises {expected:,} bytes; there are {size:,}.")


def _no_checkpoint(path: Path, start: bytes) -> CheckpointError:
    if start[_TAR] == b"ustar":
        raise _tar_archive(path, start)
    known = (told for begin, told in _KNOWN_STARTS.items() if start.startswith(begin))
    what, hint = next(known, None) or _text_or_unknown(start)
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
