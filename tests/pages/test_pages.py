"""Pages: one sound file whatever the names in it, with figures and tables beside it."""

import csv
from dataclasses import replace
from functools import cache

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal
from html_checks import require_sound
from PIL import Image

from covtool.errors import ArgumentError, OutputExistsError
from covtool.pages import (
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
    rendering,
    require_outside,
    require_page_folder,
    thumbnail,
    write_page,
)
from covtool.pages.rendering import rendered
from covtool.plotting.figure_file import house_style, svg_text

MARKUP = {
    "is a script": "<script>alert(1)</script>",
    "ends an attribute": '" onerror="alert(1)',
    "ends the style": "</style><script>alert(1)</script>",
    "is an address": "javascript:alert(1)",
    "is a template": "{{ 7 * 7 }}{% raw %}",
    "is an entity": "&lt;b&gt;",
}
TEXTS = MARKUP | HOSTILE


@cache
def drawing(label: str) -> str:
    from matplotlib.figure import Figure as Drawing

    with house_style():
        figure = Drawing(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [1, 0], marker="o")
        axes.set_title(label)
        return svg_text(figure, title=label)


def page_with(text: str, *, drawn: str | None = None) -> Page:
    picture = Picture(
        thumbnail=thumbnail(Image.new("RGB", (9, 5), "red")),
        lines=(text,),
        about=text,
        mark="wrong",
    )
    table = Table(
        name="classes",
        columns=(Column(title=text), Column(title="images", format=",d")),
        rows=((text, 3), (None, None)),
        title=text,
        caption=text,
    )
    first, second = (
        Figure(name=name, svg=drawn or drawing("x"), title=text, caption=text)
        for name in ("one", "two")
    )
    missing = Picture(thumbnail=None, about=text)
    groups = (PictureGroup(pictures=(picture, missing), title=text, lines=(text,)),)
    return Page(
        title=text,
        subtitle=text,
        head=(Tiles(tiles=(Tile(name=text, value=text, detail=text),)), Notes(sentences=(text,))),
        sections=(
            Section(name="a", title=text, blocks=(first, second, table)),
            Section(
                name="b",
                title=text,
                blocks=(
                    Text(paragraphs=(text,)),
                    Command(text=text),
                    Facts(rows=((text, text), ("none", None))),
                    Pictures(groups=groups, title=text, caption=text),
                ),
            ),
        ),
    )


@pytest.mark.parametrize("kind", TEXTS)
def test_no_text_acts_on_the_page(kind: str) -> None:
    text = rendered(page_with(TEXTS[kind]))
    sound = require_sound(text)
    plain = require_sound(rendered(page_with("a")))
    assert [tag for tag, _ in sound.elements if tag not in ("br", "wbr")] == [
        tag for tag, _ in plain.elements if tag not in ("br", "wbr")
    ]
    assert not acts_on_a_terminal(text)


@pytest.mark.parametrize("kind", MARKUP)
def test_markup_is_shown_as_the_text_that_it_is(kind: str) -> None:
    assert MARKUP[kind] in require_sound(rendered(page_with(MARKUP[kind]))).text


@pytest.mark.parametrize("kind", MARKUP)
def test_no_text_in_a_drawing_acts_on_the_page(kind: str) -> None:
    text = rendered(page_with("a", drawn=drawing(MARKUP[kind])))
    assert MARKUP[kind] in require_sound(text).text


def test_the_same_page_gives_the_same_files(tmp_path) -> None:
    for name in ("one", "two"):
        write_page(tmp_path / name, page_with("a"))
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert [str(file) for file in files] == [
        "figures/one.svg",
        "figures/two.svg",
        "index.html",
        "tables/classes.csv",
    ]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_links_of_a_page_lead_to_its_files(tmp_path) -> None:
    index = write_page(tmp_path / "page", page_with("a"))
    links = require_sound(index.read_text()).links
    named = [link for link in links if not link.startswith("#")]
    assert len(named) == 3
    assert all((index.parent / link).is_file() for link in named)


def test_the_file_of_a_table_has_every_row_and_digit(tmp_path) -> None:
    table = Table(
        name="t",
        columns=(Column(title="name"), Column(title="x", format=".1f")),
        rows=[("caf\udce9", 1 / 3), ("b", None), ("\ud800", 2)],
        shown=1,
    )
    page = Page(title="t", sections=(Section(name="s", title="s", blocks=(table,)),))
    index = write_page(tmp_path / "page", page)
    text = index.read_text()
    assert "0.3<" in text and "The first 1 of 3 rows" in text and ">b<" not in text
    with (tmp_path / "page/tables/t.csv").open(errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [["caf\udce9", repr(1 / 3)], ["b", ""], ["\\ud800", "2"]]


def test_a_page_is_replaced_on_request_only(tmp_path) -> None:
    place = tmp_path / "page"
    write_page(place, page_with("first"))
    with pytest.raises(OutputExistsError):
        write_page(place, page_with("second"))
    assert "first" in (place / "index.html").read_text()
    write_page(place, replace(page_with("second"), sections=()), overwrite=True)
    assert "second" in (place / "index.html").read_text()
    assert [path.name for path in place.iterdir()] == ["index.html"]
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    "place", ["thesis.txt", "thesis.csv", "tables/thesis.csv.txt", "figures/photo.jpg"]
)
def test_a_folder_with_other_files_is_never_replaced(tmp_path, place: str) -> None:
    write_page(tmp_path / "page", page_with("a"))
    other = tmp_path / "page" / place
    other.write_text("years of work")
    with pytest.raises(ArgumentError, match=r"would be lost"):
        write_page(tmp_path / "page", page_with("b"), overwrite=True)
    assert other.read_text() == "years of work"


@pytest.mark.parametrize("place", ["page/rows.csv", "page", "page/tables/rows.csv"])
def test_other_outputs_do_not_lie_in_the_folder_of_a_page(tmp_path, place: str) -> None:
    require_outside(tmp_path / "page", None, tmp_path / "rows.csv", tmp_path / "pages/rows.csv")
    with pytest.raises(ArgumentError, match=r"would lie in .*page, the folder of the page"):
        require_outside(tmp_path / "page", tmp_path / "rows.csv", tmp_path / place)


def test_a_folder_without_a_page_of_ours_is_never_replaced(tmp_path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<html>my site</html>")
    with pytest.raises(ArgumentError, match=r"is not the folder of a page"):
        write_page(tmp_path / "site", page_with("b"), overwrite=True)


def test_a_page_that_fails_leaves_what_was_there(tmp_path) -> None:
    write_page(tmp_path / "page", page_with("first"))

    def fail(path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_page(
            tmp_path / "page",
            replace(page_with("second"), files={"images.csv": fail}),
            overwrite=True,
        )
    assert "first" in (tmp_path / "page/index.html").read_text()
    assert list(tmp_path.iterdir()) == [tmp_path / "page"]


def test_names_that_would_meet_are_refused() -> None:
    section = Section(name="a", title="A", blocks=())
    with pytest.raises(ValueError, match="twice"):
        Page(title="t", sections=(section, section))
    with pytest.raises(ValueError, match="lower case"):
        Section(name="../a", title="A", blocks=())
    with pytest.raises(ValueError, match="not among the files"):
        Page(title="t", files={"../a.csv": print})


@pytest.mark.parametrize("missing", [("jinja2",), ("scipy", "matplotlib"), rendering.PACKAGES])
def test_what_pages_need_is_asked_for_at_once(monkeypatch, tmp_path, missing):
    there = rendering.find_spec
    monkeypatch.setattr(
        rendering, "find_spec", lambda name: None if name in missing else there(name)
    )
    with pytest.raises(ArgumentError) as caught:
        require_page_folder(tmp_path / "page", overwrite=False)
    assert all(name in caught.value.message for name in missing)
    assert "covtool[report]" in caught.value.hint
    assert not (tmp_path / "page").exists()


def test_lines_end_between_parts_of_a_path_and_never_in_an_option(tmp_path) -> None:
    words = "train/my_class/one.jpg is wide (--img-size, --crop-pct); well-known -- it is 5 %"
    page = Page(title="page", head=[Notes(sentences=[words])])
    text = rendered(page)
    assert require_sound(text).text.count(words.replace("5 %", "5\N{NO-BREAK SPACE}%")) == 1
    assert "train/<wbr>my_<wbr>class/<wbr>one.jpg" in text
    assert '<span class="option">--img-size</span>' in text
    assert "well-<wbr>known -- it" in text


def test_a_name_that_is_read_from_the_right_keeps_numbers_in_their_places() -> None:
    picture = Picture(thumbnail=None, lines=["קוף גדול, 34.4 %"])
    group = PictureGroup(pictures=[picture], title="is קוף 0.1 %, rank 2")
    text = rendered(Page(title="page", head=[Pictures(groups=[group])]))
    assert "<bdi>קוף גדול</bdi>, 34.4" in text
    assert "is <bdi>קוף</bdi> 0.1" in text
    require_sound(text)
