"""Fingerprints of sets of images, to notice when a set has changed."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice, repeat
from pathlib import Path

from covtool.data.datasets.records.records import Records, labels_of
from covtool.data.datasets.samples import Sample, relative_texts

AT_ONCE = 1 << 14  # parts of lines that are hashed at a time


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Return the number of images, and a hash over their names and labels in order.

    Args:
        samples: The images.
        root: Folder that paths are relative to, so that a data set that moved is the same.

    Example:
        >>> fingerprint([Sample(Path("a/cats/1.jpg"), 0)], Path("a"))
        '1 images, 33493b4b1a20'
    """
    if isinstance(samples, Records):
        return samples.fingerprint
    paths, labels = relative_texts(samples, root), map(str, labels_of(samples).tolist())
    # Without a function of a line, of which there may be millions.
    lines = zip(paths, repeat("\0"), labels, repeat("\n"), strict=False)  # two never end
    return _fingerprint(chain.from_iterable(lines), len(samples))


def file_fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Return a fingerprint of the files' content; labels do not matter.

    Size and time of the last change stand for the content. A file that is gone has neither.
    """
    states = (_state(sample.path) for sample in samples)
    pairs = zip(relative_texts(samples, root), states, strict=True)
    return _fingerprint((f"{path}\0{state}\n" for path, state in pairs), len(samples))


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:  # a cache may hold images that are gone, and is then made again
        return "gone"
    return f"{state.st_size}\0{state.st_mtime_ns}"


def _fingerprint(parts: Iterable[str], count: int) -> str:
    digest, parts = hashlib.sha256(), iter(parts)
    while part := "".join(islice(parts, AT_ONCE)):
        digest.update(part.encode(errors="surrogateescape"))  # names need not be text
    # Caches and recipes hold such texts: another form, and none would be recognized.
    return f"{count} images, {digest.hexdigest()[:12]}"
