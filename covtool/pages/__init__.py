"""Pages to look at: records of text, tables, figures and pictures become one HTML file.

Nothing here knows models or data sets. A page is self-contained: no network, and no script is
needed to read it. Beside it lie its figures as SVG and its tables as CSV.
"""

from covtool.pages.csv_rows import write_rows
from covtool.pages.folder import require_outside, require_page_folder, write_page
from covtool.pages.records import (
    Column,
    Command,
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
    Tile,
    Tiles,
)
from covtool.pages.thumbnails import Thumbnail, thumbnail, thumbnails

__all__ = [
    "Column",
    "Command",
    "Facts",
    "Figure",
    "Notes",
    "Page",
    "Picture",
    "PictureGroup",
    "Pictures",
    "Section",
    "Table",
    "Text",
    "Thumbnail",
    "Tile",
    "Tiles",
    "require_outside",
    "require_page_folder",
    "thumbnail",
    "thumbnails",
    "write_page",
    "write_rows",
]
