"""How sure the answers are, and how often they are right then."""

from collections.abc import Callable

from covtool.evaluation.classification.answers import ImageAnswers
from covtool.pages import Figure, Section
from covtool.plotting.figure_file import house_style, svg_text
from covtool.plotting.score_figures import (
    Scored,
    coverage_figure,
    reliability_figure,
    score_figure,
)
from covtool.reporting.subjects import Subject

_FIGURES: tuple[tuple[str, Callable, str, str], ...] = (
    (
        "reliability",
        reliability_figure,
        "Right answers by how sure they are",
        "On the diagonal, answers are as often right as their probability says; below it they are "
        "too sure. Bins of equal width; the larger a point, the more images.",
    ),
    (
        "coverage",
        coverage_figure,
        "Accuracy over coverage",
        "What is right if only the surest answers are given, and the others left to a person.",
    ),
    ("scores", score_figure, "Answers by their probability", "Right and wrong answers."),
)


def score_section(subject: Subject) -> Section:
    """Return reliability, accuracy over coverage and a histogram; with an attack, both of them."""
    done = subject.done
    answers = {"clean": scored(subject.answers)}
    if done.attacked_answers is not None:
        answers[done.attack.title] = scored(done.attacked_answers)
    blocks = []
    with house_style():
        for name, draw, title, caption in _FIGURES:
            svg = svg_text(draw(answers), title=title)
            blocks.append(Figure(name=name, svg=svg, title=title, caption=f"{title}. {caption}"))
    return Section(name="scores", title="How sure the answers are", blocks=blocks)


def scored(answers: ImageAnswers) -> Scored:
    """Return the probability of each given class, and whether it is right."""
    return answers.probability.numpy(), (answers.right == answers.given).double().numpy()
