"""An audit as a CSV file: a line for each image."""

import csv
from collections.abc import Iterator
from pathlib import Path

from covtool.atomic import written_whole
from covtool.auditing.audited import Audited
from covtool.auditing.records import Kind

COLUMNS = (
    *("path", "split", "label", "format", "mode", "width", "height", "turned"),
    *("nearly_black", "several_images", "unreadable"),
    *("equal_files", "equal_pixels", "alike", "suggested_label", "margin"),
    *("unlike_class", "unlike_all"),
)
"""Columns of the file. `several_images` is of a file that holds several images, of which the first
is read. `equal_files`, `equal_pixels` and `alike` number the groups of duplicates, each kind from
1, as the page does. `unlike_class` and `unlike_all` are robust standard deviations below the
median."""

_GROUPS: dict[Kind, str] = {"bytes": "equal_files", "pixels": "equal_pixels", "near": "alike"}


def write_image_table(audited: Audited, path: Path, *, overwrite: bool = False) -> None:
    """Write what an audit says about each image.

    Args:
        audited: What was found.
        path: File to write.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: The file exists.
        SaveError: The system refuses to write.
    """
    with (
        written_whole(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(audited))


def _rows(audited: Audited) -> Iterator[dict[str, object]]:
    images, looks = audited.images, audited.looks
    more = _of_few(audited)
    for at in range(len(images)):
        row = {"path": images.name(at), "split": images.split(at), "label": images.label(at)}
        if looks.readable[at]:
            row |= {
                "format": looks.format_names[looks.formats[at]],
                "mode": looks.mode_names[looks.modes[at]],
                "width": looks.widths[at],
                "height": looks.heights[at],
                "turned": "yes" if looks.turned[at] else "",
                "nearly_black": "yes" if looks.dim[at] else "",
                "several_images": "yes" if looks.frames[at] else "",
            }
        yield row | more.get(at, {})


def _of_few(audited: Audited) -> dict[int, dict[str, object]]:
    """Return what there is to say about some of the images, by their places."""
    audit = audited.audit
    found: dict[int, dict[str, object]] = {}
    for one in audit.unreadable:
        found.setdefault(one.at, {})["unreadable"] = one.reason
    for kind, column in _GROUPS.items():
        for number, group in enumerate(audit.groups_of(kind), start=1):
            for member in group.images:
                found.setdefault(member.at, {})[column] = number
    for suspect in audit.suspects:
        row = found.setdefault(suspect.at, {})
        row |= {"suggested_label": suspect.suggested, "margin": f"{suspect.margin:.4f}"}
    for name in ("unlike_class", "unlike_all"):
        for outlier in getattr(audit, name):
            found.setdefault(outlier.at, {})[name] = f"{outlier.deviations:.2f}"
    return found
