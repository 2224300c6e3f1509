"""Text of a file stays text, in Markdown and in YAML."""

import re

import pytest
from hostile_texts import HOSTILE

from covtool.documents import parse_yaml
from covtool.sharing.markdown import code, front_matter

ODD = {
    **HOSTILE,
    "ends code": "`</code><script>alert(1)</script>",
    "is a fence": "```\n# title\n```",
    "is of backticks": "`" * 50,
    "ends in one": "a`",
    "is HTML": "<img src=x onerror=alert(1)>",
    "is nothing": "",
    "is a space": " ",
    "ends YAML": "---\nlicense: mit",
    "is an anchor": "*a",
    "is a tag": "!!python/object:os.system",
    "is a link of Markdown": "[a](javascript:alert(1))",
    "is a cell": "a|b",
    "is a key": "a: b",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_code_ends_where_the_text_ends(text):
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    inside = shown.removeprefix(fence).removesuffix(fence)
    assert shown == f"{fence}{inside}{fence}"
    # CommonMark ends code at the first run of as many backticks as began it.
    assert len(fence) not in map(len, re.findall("`+", inside))
    assert inside.isprintable()
    assert "\n" not in shown


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_front_matter_reads_back_as_it_was(text):
    shown = text.encode("utf-8", "replace").decode()[:500]
    written = front_matter({"name": shown, "list": [shown]})
    assert (written[:4], written[-4:]) == ("---\n", "---\n")
    inside = written[4:-4]
    assert not any(line.startswith("---") for line in inside.splitlines())
    assert parse_yaml(inside) == {"name": shown, "list": [shown]}
