"""Outputs of `covtool evaluate`: a page, a picture of a classifier's mistakes, its embeddings."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from covtool.atomic import require_writable
from covtool.errors import ArgumentError
from covtool_cli import launching

if TYPE_CHECKING:
    from covtool.evaluation.evaluate import Evaluation, EvaluationRequest
    from covtool.evaluation.retrieve import Retrieval
    from covtool.reporting.against import Comparison
    from covtool.reporting.retrieval_against import ComparedSearches
    from covtool.reporting.retrieval_subject import RetrievalSubject
    from covtool.reporting.subjects import Subject
    from covtool.specs import ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What is written of an evaluation.

    Attributes:
        report: Folder of the page; None for none.
        save_mistakes: PNG file; None for none.
        embeddings: File for the classifier's inputs; None for none.
        train_data: Data set whose images are shown beside mistakes; None for none.
        against: Another model; None for none.
        command: The command that was typed.
        overwrite: Whether outputs are replaced.
    """

    report: Path | None
    save_mistakes: Path | None
    embeddings: Path | None
    train_data: Path | None
    against: "ModelSource | None"
    command: str
    overwrite: bool

    @property
    def is_asked_for(self) -> bool:
        """Whether anything is written."""
        return any((self.report, self.save_mistakes, self.embeddings))

    @property
    def needs_answers(self) -> bool:
        """Whether the answer for each image is needed, and not only figures of all."""
        return self.is_asked_for or self.against is not None

    def check(self, *others: Path | None) -> None:
        """Refuse what cannot be written, before anything is computed for it.

        Args:
            *others: Files that the command writes as well; None for none.

        Raises:
            ArgumentError: A place cannot be written to, or an option lacks ``--report``.
            OutputExistsError: An output is there, and is not to be replaced.
        """
        if self.train_data is not None and self.report is None:
            raise ArgumentError(
                "--train-data has no effect without --report.",
                hint="Add --report DIR, or leave it out.",
            )
        if not launching.is_main():  # which refuses for all
            return
        if self.report is not None:
            from covtool.pages import require_outside, require_page_folder

            require_outside(self.report, self.save_mistakes, self.embeddings, *others)
            require_page_folder(self.report, overwrite=self.overwrite)
        for path in (self.save_mistakes, self.embeddings):
            if path is not None:
                require_writable(path, overwrite=self.overwrite)


def typed(ctx: typer.Context) -> str:
    """Return the command as it can be typed again."""
    return shlex.join(["covtool", *(ctx.obj or ())])


def write(
    asked: ReportOptions,
    request: "EvaluationRequest",
    subject: "Subject",
    compared: "Comparison | None",
) -> "tuple[Subject, list[str]]":
    """Write what is asked for.

    Returns:
        The evaluation as the page shows it, and lines that say how the models compare, and where
        everything is.
    """
    if not asked.needs_answers or not launching.is_main():
        return subject, []
    from covtool.reporting.paired_words import chance

    lines = []
    if asked.report is not None:
        subject, page = _page(asked, request, subject, compared)
        lines.append(f"report: {page}")
        if asked.train_data is not None:
            lines += [f"note: {note}" for note in subject.nearest.notes]
    if compared is not None:
        test = compared.test
        guess = " (a guess)" if compared.is_guess else ""
        lines.append(
            f"top-1 {100 * compared.gain[0]:+.2f} points against {compared.second.model} (95 %: "
            f"{compared.gain_range}){guess}; right with one model alone: {test.only_first} images "
            f"with {subject.model}, {test.only_second} with {compared.second.model}; McNemar's p "
            f"{chance(test)}{guess}"
        )
    if asked.save_mistakes is not None:
        lines.append(_sheet(subject, asked.save_mistakes, overwrite=asked.overwrite))
    if asked.embeddings is not None:
        from covtool.reporting.embedding_file import save_embeddings
        from covtool_cli import render

        settings = {"overwrite": asked.overwrite, "track": render.track}
        lines.append(
            f"embeddings: {save_embeddings(subject, request, asked.embeddings, **settings)}"
        )
    return subject, lines


def write_search(
    asked: ReportOptions, subject: "RetrievalSubject", compared: "ComparedSearches | None"
) -> list[str]:
    """Write the page of a search, if it is asked for; return lines as `write` does."""
    if not launching.is_main():
        return []
    from covtool.reporting.paired_words import chance

    lines = []
    if asked.report is not None:
        from covtool.reporting.retrieval_page import write_retrieval

        page = write_retrieval(subject, asked.report, compared, overwrite=asked.overwrite)
        lines.append(f"report: {page}")
    if compared is not None:
        test = compared.test
        lines.append(
            f"mAP {compared.gain[0]:+.2f} points against {compared.second.model} (95 %: "
            f"{compared.gain_range}); first image right with one model alone: "
            f"{test.only_first} and {test.only_second} queries, McNemar's p {chance(test)}"
        )
    return lines


def compared_with(
    asked: ReportOptions, subject: "Subject", other: "Evaluation | None"
) -> "Comparison | None":
    """Return the comparison with the other model; None without one.

    Raises:
        DataError: The two were not measured on the same images.
    """
    if other is None or not launching.is_main():
        return None
    from covtool.reporting.against import compare_subjects
    from covtool.reporting.subjects import Subject

    return compare_subjects(subject, Subject(done=other, model=asked.against.name))


def searched_with(
    asked: ReportOptions, subject: "RetrievalSubject", other: "Retrieval | None"
) -> "ComparedSearches | None":
    """Return the comparison with the other model's search; None without one.

    Raises:
        DataError: The two did not search for the same images.
    """
    if other is None or not launching.is_main():
        return None
    from covtool.reporting.retrieval_against import compare_searches
    from covtool.reporting.retrieval_subject import RetrievalSubject

    return compare_searches(subject, RetrievalSubject(done=other, model=asked.against.name))


def _page(
    asked: ReportOptions,
    request: "EvaluationRequest",
    subject: "Subject",
    compared: "Comparison | None",
) -> "tuple[Subject, Path]":
    from covtool.reporting.evaluation_page import with_nearest, write_evaluation
    from covtool.reporting.image_sections import MISTAKES
    from covtool.reporting.looking import look_of
    from covtool.reporting.nearest_training import nearest_training
    from covtool_cli import render

    if asked.train_data is not None:
        shown = subject.mistakes[:MISTAKES]
        nearest = nearest_training(subject, asked.train_data, request, shown, track=render.track)
        subject = replace(subject, nearest=nearest)
    subject = with_nearest(subject)
    if subject.done.opened is not None:
        subject = replace(subject, look=look_of(subject.done.opened))
    page = write_evaluation(subject, asked.report, compared, overwrite=asked.overwrite)
    return subject, page


def _sheet(subject: "Subject", path: Path, *, overwrite: bool) -> str:
    from covtool.reporting.mistake_sheet import save_mistakes

    if not subject.mistakes:  # no error: the model may be as good as that
        return "no mistake: no picture of them is written"
    return f"mistakes: {save_mistakes(subject, path, overwrite=overwrite)}"
