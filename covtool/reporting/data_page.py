"""The page about a data set: what an audit has found, with pictures."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from PIL import Image

from covtool.auditing import Audit, Audited, write_image_table
from covtool.auditing.records import Group, Kind, LabelSuspect, Member, Outlier
from covtool.data.images.decoding import read_image
from covtool.errors import DataError
from covtool.pages import (
    Column,
    Facts,
    Figure,
    Notes,
    Page,
    Picture,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Text,
    Thumbnail,
    Tile,
    Tiles,
    require_page_folder,
    thumbnails,
    write_page,
)
from covtool.plotting.class_counts import class_counts_figure
from covtool.plotting.figure_file import house_style, svg_text
from covtool.progress import Track, silent

SHOWN = 60
"""Groups of duplicates, suspects and outliers that are shown with pictures, of each kind."""

OF_A_GROUP = 6
"""Pictures of a group of duplicates."""

LONGEST_SIDE = 256  # pixels to which a picture is reduced as it is read
BUDGET = 8_000_000
"""Bytes of the page that all pictures take at most."""

_LONGEST_CELL = 150  # characters

COUNTED = Column(title="images", format=",d", is_number=True)


def require_data_page(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where no page can be written, before anything is computed for it.

    Raises:
        ArgumentError: No folder can be made there, it holds other things, or a package is missing.
        OutputExistsError: There is one, and it is not to be replaced.
    """
    require_page_folder(folder, overwrite=overwrite)


def write_data_page(
    audited: Audited, folder: Path, *, overwrite: bool = False, track: Track = silent
) -> Path:
    """Write the page about a data set, with its figures and tables.

    Args:
        audited: What was found.
        folder: Folder to make.
        overwrite: Whether to replace a page that is there.
        track: Display of the progress.

    Returns:
        The path of ``index.html``.

    Raises:
        ArgumentError: As `require_data_page`.
        OutputExistsError: As `require_data_page`.
        SaveError: The system refuses to write.
    """
    return write_page(folder, data_page(audited, track=track), overwrite=overwrite)


def data_page(audited: Audited, *, track: Track = silent) -> Page:
    """Return the page about a data set; the images that it shows are read again."""
    audit = audited.audit
    pictures = _PictureBook(audited, track)
    sections = (
        _of_findings(audit),
        _of_classes(audited),
        _of_files(audit),
        *(_of_copies(audit, pictures, kind) for kind in _TITLES),
        _of_suspects(audit, pictures),
        _of_outliers(audit.unlike_class, pictures, "unlike-class", "Images unlike their class"),
        _of_outliers(audit.unlike_all, pictures, "unlike-all", "Images unlike all others"),
    )
    return Page(
        title=f"Data set {audit.root.resolve().name}",
        subtitle=f"{audit.layout}; read so because {audit.why}",
        head=(Tiles(tiles=tuple(_tiles(audit))), Notes(sentences=audit.notes)),
        sections=tuple(section for section in sections if section is not None),
        files={"images.csv": lambda path: write_image_table(audited, path)},
    )


class _PictureBook:
    """The thumbnails of a page, read in one go so that they share its budget."""

    def __init__(self, audited: Audited, track: Track) -> None:
        places = sorted(set(_shown_places(audited.audit)))
        paths = audited.images.paths
        found: dict[int, Image.Image] = {}
        for at in track(places, "making thumbnails", len(places)):
            try:
                image = read_image(paths[at])
            except DataError:  # it may have gone since; the page says that it is not shown
                continue
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            found[at] = image
        made = thumbnails(found.values(), budget=BUDGET)
        self._made: dict[int, Thumbnail] = dict(zip(found, made, strict=True))

    def picture(self, at: int, path: str, lines: Sequence[str], mark: str = "") -> Picture:
        """Return the picture of an image with lines below it."""
        return Picture(thumbnail=self._made.get(at), lines=lines, about=path, mark=mark)


def _shown_places(audit: Audit) -> Iterator[int]:
    for kind in _TITLES:
        for group in audit.groups_of(kind)[:SHOWN]:
            yield from (member.at for member in group.images[:OF_A_GROUP])
    for one in chain(audit.suspects[:SHOWN], audit.unlike_class[:SHOWN], audit.unlike_all[:SHOWN]):
        yield one.at


def _tiles(audit: Audit) -> Iterator[Tile]:
    each = ", ".join(f"{count:,} {name}" for name, count in audit.splits.items())
    detail = each if len(audit.splits) > 1 else ""
    yield Tile(name="images", value=f"{audit.images:,}", detail=detail)
    name = "identities" if audit.task == "retrieval" else "classes"
    yield Tile(name=name, value=f"{len(audit.classes):,}")
    yield Tile(name="kinds of leaks", value=str(len(audit.leaks)))
    yield Tile(name="cannot be read", value=f"{len(audit.unreadable):,}")
    yield Tile(name="groups of copies", value=f"{len(audit.groups):,}")
    if audit.suspects:
        yield Tile(name="labels in doubt", value=f"{len(audit.suspects):,}")


def _of_findings(audit: Audit) -> Section:
    if not audit.findings:
        return Section(
            name="findings", title="Findings", blocks=(Text(paragraphs=("Nothing stands out.",)),)
        )
    rows = [(one.severity, one.count, one.text, _examples(one.examples)) for one in audit.findings]
    columns = (
        Column(title="kind"),
        Column(title="count", format=",d", is_number=True),
        Column(title="finding"),
        Column(title="for example"),
    )
    table = Table(name="findings", columns=columns, rows=rows)
    return Section(name="findings", title="Findings", blocks=(table,))


def _examples(examples: Sequence[str]) -> str:
    """Return whole examples, as many as a cell shows without a cut; one at least."""
    few = list(examples)
    while len(few) > 1 and len("; ".join(few)) > _LONGEST_CELL:
        few.pop()
    return "; ".join(few)


def _of_classes(audited: Audited) -> Section | None:
    audit, images = audited.audit, audited.images
    if not audit.classes:
        return None
    what = "identities" if audit.task == "retrieval" else "classes"
    with house_style():
        drawn = class_counts_figure(images.class_names, images.counts, images.split_names)
        title = f"Images of {what}"
        figure = Figure(name="classes", svg=svg_text(drawn, title=title), title=title)
    splits = [Column(title=name, format=",d", is_number=True) for name in audit.splits]
    table = Table(
        name="classes",
        columns=(Column(title=what), *splits),
        rows=[(one.name, *one.images) for one in audit.classes],
    )
    return Section(name="classes", title=title, blocks=(figure, table))


def _of_files(audit: Audit) -> Section:
    facts: list[tuple[str, str]] = []
    if audit.sizes is not None:
        for name, (least, median, most) in (
            ("width", audit.sizes.width),
            ("height", audit.sizes.height),
        ):
            several = f"{least:,} to {most:,} pixels, median {median:,}"
            facts.append((name, f"{most:,} pixels" if least == most else several))
        for name, counts in (("formats", audit.formats), ("modes", audit.modes)):
            facts.append((name, ", ".join(f"{one} {count:,}" for one, count in counts.items())))
    if audit.cameras is not None:
        facts.append(("cameras", f"{audit.cameras:,}"))
    blocks: list[Facts | Table] = [Facts(rows=facts)]
    if audit.left_out:
        blocks.append(
            Table(
                name="left-out",
                title="Files that are left out",
                columns=(Column(title="suffix"), COUNTED, Column(title="reason")),
                rows=[(suffix, *row) for suffix, row in audit.left_out.items()],
            )
        )
    if audit.unreadable:
        blocks.append(
            Table(
                name="unreadable",
                title="Images that cannot be read",
                columns=tuple(Column(title=name) for name in ("image", "split", "reason")),
                rows=[(one.path, one.split, one.reason) for one in audit.unreadable],
            )
        )
    return Section(name="files", title="Files", blocks=blocks)


_TITLES: dict[Kind, str] = {
    "bytes": "Equal files",
    "pixels": "Equal pixels in different files",
    "near": "Pictures that look alike",
}


def _of_copies(audit: Audit, pictures: _PictureBook, kind: Kind) -> Section | None:
    groups = audit.groups_of(kind)
    if not groups:
        return None
    shown = tuple(
        PictureGroup(
            title=f"{number}: {_what(group)}",
            pictures=tuple(_of_member(one, pictures) for one in group.images[:OF_A_GROUP]),
            lines=_more(group),
        )
        for number, group in enumerate(groups[:SHOWN], start=1)
    )
    rows = [
        (number, one.path, one.split, one.label)
        for number, group in enumerate(groups, start=1)
        for one in group.images
    ]
    columns = (
        Column(title="group", format="d", is_number=True),
        *(Column(title=name) for name in ("image", "split", "label")),
    )
    table = Table(name=f"{kind}-copies", columns=columns, rows=rows, shown=200)
    blocks = (Pictures(groups=shown, caption=_of(len(shown), len(groups), "groups")), table)
    return Section(name=f"{kind}-copies", title=_TITLES[kind], blocks=blocks)


def _what(group: Group) -> str:
    words = ("in several splits" if group.crosses_splits else "", _labels(group))
    return ", ".join(filter(None, words)) or "in one split, under one label"


def _labels(group: Group) -> str:
    return "under different labels" if group.has_two_labels else ""


def _more(group: Group) -> tuple[str, ...]:
    rest = len(group.images) - OF_A_GROUP
    return (f"and {rest:,} more",) if rest > 0 else ()


def _of_member(one: Member, pictures: _PictureBook) -> Picture:
    return pictures.picture(one.at, one.path, tuple(filter(None, (one.split, one.label))))


def _of_suspects(audit: Audit, pictures: _PictureBook) -> Section | None:
    suspects: Sequence[LabelSuspect] = audit.suspects
    if not suspects:
        return None
    shown = tuple(
        PictureGroup(
            pictures=(
                pictures.picture(
                    one.at,
                    one.path,
                    (one.label, f"looks like {one.suggested}", f"margin {one.margin:.2f}"),
                    "wrong",
                ),
            )
        )
        for one in suspects[:SHOWN]
    )
    columns = (
        *(Column(title=name) for name in ("image", "split", "label", "looks like")),
        Column(title="margin", format=".3f", is_number=True),
    )
    table = Table(
        name="suspects",
        columns=columns,
        rows=[(s.path, s.split, s.label, s.suggested, s.margin) for s in suspects],
        shown=200,
    )
    text = (
        "Each image was judged by a classifier that had not seen it: these look more like another "
        "class than like their own. A label in doubt is not wrong for that; look at the pictures."
    )
    blocks = (
        Text(paragraphs=(text,)),
        Pictures(groups=shown, caption=_of(len(shown), len(suspects), "images")),
        table,
    )
    return Section(name="suspects", title="Labels in doubt", blocks=blocks)


def _of_outliers(
    outliers: Sequence[Outlier], pictures: _PictureBook, name: str, title: str
) -> Section | None:
    if not outliers:
        return None
    shown = tuple(
        PictureGroup(
            pictures=(
                pictures.picture(
                    one.at, one.path, (one.label, f"{one.deviations:.1f} deviations away")
                ),
            )
        )
        for one in outliers[:SHOWN]
    )
    columns = (
        *(Column(title=title) for title in ("image", "split", "label")),
        Column(title="similarity", format=".3f", is_number=True),
        Column(title="deviations", format=".1f", is_number=True),
    )
    rows = [(one.path, one.split, one.label, one.similarity, one.deviations) for one in outliers]
    blocks = (
        Pictures(groups=shown, caption=_of(len(shown), len(outliers), "images")),
        Table(name=name, columns=columns, rows=rows, shown=200),
    )
    return Section(name=name, title=title, blocks=blocks)


def _of(shown: int, count: int, what: str) -> str:
    return f"The first {shown:,} of {count:,} {what}." if shown < count else ""
