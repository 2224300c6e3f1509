"""What any page must be: elements closed, names once, links that lead somewhere, nothing loaded."""

import re
from html.parser import HTMLParser

_VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "wbr"})


class PageReader(HTMLParser):
    """Reads a page strictly; what is wrong ends in `problems`."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{name}> is not closed" for name in self.open]
        self.problems += [
            f"id {n!r} is there twice" for n in set(self.ids) if self.ids.count(n) > 1
        ]
        for link in self.links:
            if link.startswith("#") and link[1:] not in self.ids:
                self.problems.append(f"{link} leads nowhere")

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if "href" in found and tag != "link":
            self.links.append(found["href"])
        if "src" in found:
            self.sources.append(found["src"])
        self.problems += [f"{tag} has {name}" for name in found if name.startswith("on")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.shown.append(data)

    @property
    def text(self) -> str:
        return "".join(self.shown)


def require_sound(text: str) -> PageReader:
    """Refuse a page that is not sound, and return what it holds."""
    reader = PageReader(text)
    assert not reader.problems, reader.problems[:5]
    assert all(source.startswith("data:") for source in reader.sources), reader.sources[:3]
    assert all("://" not in link for link in reader.links), reader.links[:3]
    assert [tag for tag, _ in reader.elements].count("script") == 1
    return reader


RAW_NAME = re.compile(r"\b(eval_|best_|last_)?(top|rank)_?\d+\b|\beval_(loss|mAP|mINP|r_precision)")
"""Names that files and options have for figures, for which people read words."""


def raw_names(text: str) -> list[str]:
    """Return names of columns that a page shows; its tables of settings may, as they are typed."""
    without = re.sub(r"<section id=\"(same-)?settings\">.*?</section>", "", text, flags=re.DOTALL)
    return [found[0] for found in RAW_NAME.finditer(PageReader(without).text)]
