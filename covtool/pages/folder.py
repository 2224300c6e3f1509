"""A page's folder: made whole, and replaced only where it is one of ours."""

import os
from pathlib import Path

from covtool.atomic.endings import tidied_up_when_ended
from covtool.atomic.folders import require_folder
from covtool.atomic.saving import saving
from covtool.atomic.staging import staging_folder, sync
from covtool.errors import ArgumentError, OutputExistsError
from covtool.full_paths import absolute
from covtool.pages.csv_rows import write_rows
from covtool.pages.records import FILES, Figure, Page, Table
from covtool.pages.rendering import GENERATOR, rendered, require_packages
from covtool.printable import first_few, printable

INDEX = "index.html"
FIGURES, TABLES = "figures", "tables"
_SUFFIXES = {FIGURES: ".svg", TABLES: ".csv"}
"""Of the files in the folders of a page's folder."""
_LOOKED_AT = 2000  # bytes of a page, among which its generator is named


def write_page(folder: str | Path, page: Page, *, overwrite: bool = False) -> Path:
    """Write a page with its figures and tables; the folder appears whole or not at all.

    The same page gives the same bytes.

    Args:
        folder: Folder to make; the one above it must exist.
        page: What is in it.
        overwrite: Whether to replace a folder that is there, which must be a page's.

    Returns:
        The path of ``index.html``.

    Raises:
        ArgumentError: No folder can be made there, it holds other things, or a
            package is not installed.
        OutputExistsError: There is such a folder, and `overwrite` is False.
        SaveError: The system refuses to write.
    """
    folder = absolute(Path(folder))
    require_page_folder(folder, overwrite=overwrite)
    text = rendered(page)
    with saving(folder), tidied_up_when_ended(), staging_folder(folder) as staging:
        made = staging / "new"
        made.mkdir()
        _fill(made, page, text)
        require_page_folder(folder, overwrite=overwrite)  # what came meanwhile stays
        _exchange(made, folder, staging / "old")
    return folder / INDEX


def require_page_folder(folder: str | Path, *, overwrite: bool) -> None:
    """Refuse a place where no page can be written, before anything is computed for it.

    Raises:
        ArgumentError: No folder can be made there, it holds other things, or a
            package is not installed.
        OutputExistsError: There is a page's folder, and `overwrite` is False.
    """
    require_packages()
    folder = absolute(Path(folder))
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArgumentError(
            f"{folder} is {'a link' if folder.is_symlink() else 'no folder'}.",
            reason="A page, its figures and its tables go into a folder of their own.",
            hint="Remove it first, or choose another place.",
        )
    if not folder.parent.is_dir():
        raise ArgumentError(
            f"There is no folder {folder.parent} to write to.",
            hint="Make it first, or choose another place.",
        )
    if folder.exists() and any(folder.iterdir()):
        if others := _others(folder):
            raise ArgumentError(
                f"{folder} is not the folder of a page that covtool wrote.",
                reason=f"It holds {first_few(others, 3, show=printable)}, which would be lost.",
                hint="Choose another place, or a new folder in it.",
            )
        if not overwrite:
            raise OutputExistsError(folder)
    require_folder(folder)


def require_outside(folder: str | Path, *files: Path | None) -> None:
    """Refuse files in a page's folder, which is made anew as a whole.

    Args:
        folder: The page's.
        *files: Other outputs; None for none.

    Raises:
        ArgumentError: One of them lies there.
    """
    place = absolute(Path(folder))
    for file in filter(None, files):
        if place in (absolute(file), *absolute(file).parents):
            raise ArgumentError(
                f"{file} would lie in {folder}, the folder of the page.",
                reason="That folder is made anew as a whole.",
                hint="Choose a place beside it.",
            )


def _others(folder: Path) -> list[str]:
    """Return what a folder holds that is not of a page; all of it where there is no page."""
    names = sorted(path.name for path in folder.iterdir())
    if not _is_page(folder / INDEX):
        return names
    found = []
    for path in sorted(folder.iterdir()):
        if path.name in (FIGURES, TABLES) and path.is_dir() and not path.is_symlink():
            kind = _SUFFIXES[path.name]
            found += [
                f"{path.name}/{p.name}"
                for p in path.iterdir()
                if p.suffix != kind or not _is_file(p)
            ]
        elif path.name not in (INDEX, *FILES) or not _is_file(path):
            found.append(path.name)
    return sorted(found)


def _is_page(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(_LOOKED_AT)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _fill(made: Path, page: Page, text: str) -> None:
    (made / INDEX).write_text(text, encoding="utf-8", newline="\n")
    blocks = page.blocks()
    if figures := [block for block in blocks if isinstance(block, Figure)]:
        (made / FIGURES).mkdir()
        for figure in figures:
            path = made / FIGURES / f"{figure.name}.svg"
            path.write_text(figure.svg, encoding="utf-8", newline="\n")
    if tables := [block for block in blocks if isinstance(block, Table)]:
        (made / TABLES).mkdir()
        for table in tables:
            head = [column.title for column in table.columns]
            write_rows(made / TABLES / f"{table.name}.csv", head, table.rows)
    for name, write in page.files.items():
        write(made / name)
    for root, _, names in os.walk(made):
        for path in (*(Path(root, name) for name in names), Path(root)):
            sync(path)


def _exchange(made: Path, folder: Path, old: Path) -> None:
    """Give the new folder its name; the old one is removed with the staging folder."""
    if folder.exists():
        folder.rename(old)
    try:
        made.rename(folder)
    except OSError:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
