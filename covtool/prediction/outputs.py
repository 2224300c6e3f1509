"""Outputs of a prediction: rows of a file, embeddings, a sheet, and counts."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from covtool.errors import ArgumentError
from covtool.evaluation.features.files import FeatureWriter
from covtool.evaluation.features.table import ImageLabels
from covtool.prediction.answer_sheet import PICTURES, Answered, save_answers
from covtool.prediction.image_inputs import ImageInput, ImageInputs
from covtool.prediction.map_sheet import Explained, save_maps
from covtool.prediction.predictor import Answers, Predictor
from covtool.prediction.request import PredictionRequest
from covtool.prediction.row_file import Names, Progress, RowFile, Settings, partial_of
from covtool.prediction.row_formats import first_rows
from covtool.prediction.rows import Prediction, RowLayout, prediction_of_row

SHOWN = 20
"""Unreadable images that a result names."""

OnPrediction = Callable[[Prediction], None]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of what is done.

    Attributes:
        images: Number of images, those that cannot be read included.
        failed: Number of those that cannot be read.
        resumed: Number of images that an earlier, interrupted call had done.
        changed: Number of these whose files have changed since.
        turned: Number with an EXIF orientation that turns them.
        dim: Number that are nearly black.
        unreadable: The first that cannot be read, each with the reason.
    """

    images: int = 0
    failed: int = 0
    resumed: int = 0
    changed: int = 0
    turned: int = 0
    dim: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()

    def with_batch(self, answers: Answers) -> "Tally":
        """Return the counts with those of one batch more."""
        pairs = zip(answers.inputs, answers.errors, strict=True)
        bad = [(image.name, error) for image, error in pairs if error]
        return replace(
            self,
            images=self.images + len(answers.inputs),
            failed=self.failed + len(bad),
            turned=self.turned + answers.turned,
            dim=self.dim + answers.dim,
            unreadable=(*self.unreadable, *bad)[:SHOWN],
        )


class Outputs:
    """The outputs of a request. Only the main one of several processes uses them.

    Args:
        request: Files to write.
        layout: Names of the outputs and columns.
        inputs: The images.
        on_prediction: Called with each answer; None for nothing.

    Attributes:
        tally: Counts of what is done.
        names: Digest of the names of these images.
    """

    def __init__(
        self,
        request: PredictionRequest,
        layout: RowLayout,
        inputs: ImageInputs,
        on_prediction: OnPrediction | None,
    ) -> None:
        self.tally, self.names = Tally(), Names()
        self._request, self._layout, self._inputs = request, layout, inputs
        self._on_prediction = on_prediction
        self._rows: RowFile | None = None
        self._features: FeatureWriter | None = None
        self._shown: list[Answered] = []

    def begin(self, stack: ExitStack, settings: Settings) -> Progress:
        """Open the files, which are finished when the stack ends; return what is done already.

        Args:
            stack: Contexts that end with the work.
            settings: Settings that decide the rows.
        """
        asked = self._request
        if asked.embeddings is not None:
            writer = FeatureWriter(asked.embeddings, overwrite=asked.overwrite)
            self._features = stack.enter_context(writer)
        if asked.output is None:
            return Progress()
        rows = RowFile(
            asked.output,
            self._layout.columns,
            settings,
            resume=asked.resume,
            overwrite=asked.overwrite,
        )
        self._rows = stack.enter_context(rows)
        return rows.progress

    def skip(self, images: Iterable[ImageInput], done: Progress) -> None:
        """Pass the images over that are done.

        Raises:
            ArgumentError: They are others than before.
        """
        first, changed = [], 0
        for image in images:
            self.names.add([image])
            changed += self._has_changed(image)
            first += [image] if len(first) < 2 * PICTURES else []
        if done.images and str(self.names) != done.names:
            raise ArgumentError(
                f"The images are others than those that were begun with: of the {done.images:,} "
                "that are done, some have other names or another order.",
                hint="Name the same images, or begin anew with --overwrite.",
            )
        self.tally = Tally(
            images=done.images, failed=done.failed, resumed=done.images, changed=changed
        )
        if self._rows is not None and done.images:
            self._show_again(first)

    def take(self, answers: Answers) -> None:
        """Write the answers for the next batch."""
        self.tally = self.tally.with_batch(answers)
        self.names.add(answers.inputs)
        pairs = [
            (image, prediction)
            for image, prediction in zip(
                answers.inputs, self._layout.predictions(answers), strict=True
            )
            if not (prediction.error and self._request.leaves_out)
        ]
        # Before the rows: what is in them is done for good.
        if self._features is not None and answers.embeddings is not None:
            good = [row for row, error in enumerate(answers.errors) if not error]
            labels = [ImageLabels(path=answers.inputs[row].name) for row in good]
            self._features.append(answers.embeddings[good], labels)
        if self._rows is not None:
            self._rows.append(
                [self._layout.row(prediction) for _, prediction in pairs],
                images=len(answers.inputs),
                failed=sum(map(bool, answers.errors)),
                names=self.names,
            )
        if self._on_prediction is not None:
            for _, prediction in pairs:
                self._on_prediction(prediction)
        self._show(pairs)

    def draw_sheet(self) -> None:
        """Draw the first pictures with their answers, where that is asked for."""
        asked = self._request
        if asked.sheet is None:
            return
        left_out = self.tally.failed if asked.leaves_out else 0
        save_answers(
            asked.sheet,
            self._shown,
            self._inputs.records,
            title=asked.source.name,
            total=self.tally.images - left_out,
            overwrite=asked.overwrite,
        )

    def draw_maps(self, predictor: Predictor) -> tuple[str, ...]:
        """Draw maps of the first pictures, where that is asked for; return notes on them."""
        asked = self._request
        if asked.maps is None:
            return ()
        left_out = self.tally.failed if asked.leaves_out else 0
        return save_maps(
            asked.maps,
            Explained(
                predictor=predictor,
                names=self._layout.names,
                answered=self._shown,
                records=self._inputs.records,
            ),
            total=self.tally.images - left_out,
            overwrite=asked.overwrite,
        )

    def _has_changed(self, image: ImageInput) -> bool:
        if self._rows is None or not isinstance(image.place, str):
            return False
        try:
            found = Path(image.place).stat()
        except OSError:  # gone, which is a change
            return True
        # Of a copy, the first may be that of the original.
        return max(found.st_mtime_ns, found.st_ctime_ns) > self._rows.changed_at

    def _show(self, pairs: Iterable[tuple[ImageInput, Prediction]]) -> None:
        if self._request.sheet is None and self._request.maps is None:
            return
        for image, prediction in pairs:
            if len(self._shown) < PICTURES:
                self._shown.append(Answered(image.place, prediction))

    def _show_again(self, images: Iterable[ImageInput]) -> None:
        """Take the first pictures' answers from the rows that are there."""
        output = self._request.output
        rows = first_rows(partial_of(output), output, PICTURES)
        row = next(rows, None)
        pairs = []
        for image in images:
            if row is not None and row["path"] == image.name:
                pairs.append((image, prediction_of_row(row)))
                row = next(rows, None)
        self._show(pairs)
