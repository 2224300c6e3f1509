"""Names of runs and columns are text in a figure, whatever is in them."""

import xml.etree.ElementTree as ET

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool.plotting.figure_file import LONGEST_LABEL, as_label, house_style, write_figure
from covtool.plotting.run_panels import finish_panel, name_runs

DOLLARS = {"one dollar": "a$b", "no mathematics": r"$\nosuchmacro{$", "half": r"$x_$", "all": "$x$"}
TEXTS = {name: text for name, text in (HOSTILE | DOLLARS).items() if name != "floods"}


def drawn(path, labels, title):
    with house_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1])
        finish_panel(axes, title, logarithmic=False)
        name_runs(figure, labels)
        write_figure(figure, path, title=", ".join(labels))
    return path


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_name_is_text(tmp_path, text):
    path = drawn(tmp_path / "a.svg", [text, "another"], text)
    words = "".join(ET.parse(path).getroot().itertext())
    assert not acts_on_a_terminal(words.replace("\t", ""))
    assert as_label(text)[:20] in words


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_name_of_a_single_run_is_text_in_every_format(tmp_path, suffix):
    text = "".join(DOLLARS.values()) + "\x1b]0;owned\x07\ud800"
    assert b"owned\x07" not in drawn(tmp_path / f"a{suffix}", [text], text).read_bytes()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_labels_have_a_length(text):
    assert len(as_label(text)) <= LONGEST_LABEL + 3
