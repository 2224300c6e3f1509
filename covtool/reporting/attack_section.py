"""An attack on an evaluation's page: figures and classes, clean and under attack side by side."""

import torch

from covtool.ops.class_figures import class_figures
from covtool.pages import Column, Section, Table, Text
from covtool.reporting.subjects import Subject


def attack_section(subject: Subject) -> Section:
    """Return what an attack changes; the evaluation had one."""
    done = subject.done
    before, after = subject.answers, done.attacked_answers
    was, still = (answers.right == answers.given for answers in (before, after))
    changed = int((before.given != after.given).sum())
    kept = int((was & still).sum())
    sentence = (
        f"Of {int(was.sum()):,} images that are recognized as they are, {kept:,} still are under "
        f"{done.attack.title}; {changed:,} of {len(before):,} images are given "
        "another class. predictions.csv has both answers of each."
    )
    return Section(
        name="attack",
        title="Under attack",
        blocks=[Text(paragraphs=[sentence]), _figures(subject), _classes(subject)],
    )


def _figures(subject: Subject) -> Table:
    done = subject.done
    results = (done.result, done.attacked)
    return Table(
        name="attack",
        columns=(
            Column(title="figure"),
            *(Column(title=title, format=".4g") for title in ("clean", done.attack.title)),
        ),
        rows=[
            ("top-1 (%)", *(result.top_1 for result in results)),
            ("top-5 (%)", *(result.top_5 for result in results)),
            ("macro F1 (%)", *(result.macro["f1"] for result in results)),
            ("negative log-likelihood", *(result.probabilities.nll for result in results)),
            ("calibration error (%)", *(result.probabilities.ece for result in results)),
        ],
    )


def _classes(subject: Subject) -> Table:
    """Return the share of each class that is recognized, and what it is taken for then."""
    names, after = subject.names, subject.done.attacked_answers
    clean = subject.figures
    attacked = class_figures(after.right, after.given, len(names))
    rows = []
    for k, name in enumerate(names):
        images = int(clean.images[k])
        if not images:
            continue
        wrong = after.given[(after.right == k) & (after.given != k)]
        taken = torch.bincount(wrong, minlength=len(names))
        most = int(taken.argmax())
        given = f"{names[most]} ({int(taken[most])})" if len(wrong) else None
        recalls = [100 * float(figures.recall[k]) for figures in (clean, attacked)]
        rows.append((name, images, *recalls, given))
    return Table(
        name="attacked-classes",
        title="Class by class",
        columns=(
            Column(title="class"),
            Column(title="images", format=",d"),
            Column(title="recall, clean (%)", format=".1f"),
            Column(title="recall, attacked (%)", format=".1f"),
            Column(title="taken for under attack (images)"),
        ),
        rows=sorted(rows, key=lambda row: row[3] - row[2]),
        caption="Those that lose the most first.",
        shown=50,
    )
