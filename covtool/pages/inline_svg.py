"""Drawings within a page: their names must not meet those of other drawings."""

import re
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
SMALLEST = 0.8
"""Share of its own width that a drawing keeps in a narrow window."""
_LEFT_OUT = frozenset({"metadata", "script", "foreignObject"})


def inline_svg(document: str, name: str, title: str) -> str:
    """Return an SVG document as an element of an HTML page.

    Identifiers get the name as prefix, and one that is there again is left out; styles hold within
    the element only, and scripts and metadata are left out. The element takes the width that there
    is.

    Args:
        document: A whole SVG document.
        name: Prefix, once in a page.
        title: What it shows, for readers that cannot see it.
    """
    root = ElementTree.fromstring(document)
    prefix = f"{name}--"
    _remove_left_out(root)
    known: set[str] = set()
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {
            _plain_name(key): _with_prefix(key, value, prefix)
            for key, value in element.attrib.items()
            if key != "id" or value not in known  # marks of several panels have one name
        }
        known.add(element.attrib.get("id", "").removeprefix(prefix))
        if element.tag == "style" and element.text:
            element.text = f"#{name}-svg {element.text.strip()}"
    root.attrib.pop("height", None)
    width = root.attrib.pop("width", "")
    root.attrib |= {"id": f"{name}-svg", "role": "img", "aria-label": title}
    if width:
        # Narrow windows move over a drawing rather than make its letters too small to read.
        root.set("style", f"width: {width}; min-width: calc({SMALLEST} * {width})")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _remove_left_out(parent: ElementTree.Element) -> None:
    for child in list(parent):
        if child.tag.removeprefix(_SVG) in _LEFT_OUT:
            parent.remove(child)
        else:
            _remove_left_out(child)


def _plain_name(key: str) -> str:
    return key.removeprefix(_XLINK)


def _with_prefix(key: str, value: str, prefix: str) -> str:
    plain = _plain_name(key)
    if plain == "id":
        return prefix + value
    if plain == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
