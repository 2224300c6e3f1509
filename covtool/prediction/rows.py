"""The answer for an image as a record, and as a row of named columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from covtool.prediction.predictor import Answers
from covtool.specs import PredictionSpec

PATH, ERROR, MARGIN, DISTANCE = "path", "error", "margin", "distance"
DIGITS = 9
"""Significant digits of a number in a file: enough to tell any two float32 apart."""

Row = dict[str, str | float | None]
"""Values by column, in the order of the columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's answer for an image.

    Attributes:
        path: The image as it was named.
        classes: Names of the most probable classes, in order; empty where a probability is below
            the threshold, and all of them where the image is too far from the training embeddings.
        probabilities: Their probabilities.
        outputs: The model's outputs that they belong to.
        margin: Difference of the two highest probabilities.
        distance: Distance to the training embeddings; None where the model's file keeps none.
        logits: Logits of all outputs, where they were asked for.
        error: Reason why the image cannot be read; then there is no answer.
    """

    path: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    outputs: tuple[int, ...] = ()
    margin: float | None = None
    distance: float | None = None
    logits: tuple[float, ...] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """Names of a model's outputs, and the columns that follow from them.

    Attributes:
        names: Names of all outputs.
        spec: Choice of the answers.
        has_distance: Whether the model's file keeps training embeddings.
    """

    names: Sequence[str]
    spec: PredictionSpec
    has_distance: bool = False

    @property
    def top_k(self) -> int:
        """Classes of an image."""
        return min(self.spec.top_k, len(self.names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        pairs = [(f"class_{place}", f"probability_{place}") for place in self._places]
        return (
            PATH,
            *(name for pair in pairs for name in pair),
            *([MARGIN] if self.spec.margin else []),
            *([DISTANCE] if self.has_distance else []),
            *(self._logit_columns if self.spec.logits else ()),
            ERROR,
        )

    @property
    def _places(self) -> range:
        return range(1, self.top_k + 1)

    @property
    def _logit_columns(self) -> tuple[str, ...]:
        is_unique = len(set(self.names)) == len(self.names)
        return tuple(f"logit_{name}" for name in (self.names if is_unique else self._numbers))

    @property
    def _numbers(self) -> range:
        return range(len(self.names))

    def predictions(self, answers: Answers) -> Iterator[Prediction]:
        """Yield the records of a batch, those of unreadable images as well."""
        for row, (image, error) in enumerate(zip(answers.inputs, answers.errors, strict=True)):
            if error:
                yield Prediction(path=image.name, error=error)
                continue
            outputs = answers.outputs[row].tolist()
            probabilities = answers.probabilities[row].tolist()
            distance = None if answers.distances is None else float(answers.distances[row])
            classes = (
                ("",) * len(outputs)
                if self._is_far(distance)
                else tuple(map(self._class, outputs, probabilities))
            )
            yield Prediction(
                path=image.name,
                classes=classes,
                probabilities=tuple(probabilities),
                outputs=tuple(outputs),
                margin=float(answers.margins[row]),
                distance=distance,
                logits=None if answers.logits is None else tuple(answers.logits[row].tolist()),
            )

    def row(self, prediction: Prediction) -> Row:
        """Return a record as a row; of an unreadable image, numbers are None."""
        values: Row = dict.fromkeys(self.columns)
        values |= {PATH: prediction.path, ERROR: prediction.error}
        values |= {f"class_{place}": "" for place in self._places}
        if prediction.error:
            return values
        answers = zip(self._places, prediction.classes, prediction.probabilities, strict=True)
        for place, name, probability in answers:
            values[f"class_{place}"] = name
            values[f"probability_{place}"] = _rounded(probability)
        if self.spec.margin:
            values[MARGIN] = _rounded(prediction.margin)
        if self.has_distance:
            values[DISTANCE] = _rounded(prediction.distance)
        if self.spec.logits:
            logits = map(_rounded, prediction.logits)
            values |= zip(self._logit_columns, logits, strict=True)
        return values

    def _is_far(self, distance: float | None) -> bool:
        farthest = self.spec.max_distance
        return farthest is not None and distance is not None and distance > farthest

    def _class(self, output: int, probability: float) -> str:
        threshold = self.spec.threshold
        return "" if threshold is not None and probability < threshold else self.names[output]


def prediction_of_row(row: Mapping[str, str]) -> Prediction:
    """Return the record of a row that was read from a file, as far as a picture shows it."""
    places = [name.removeprefix("probability_") for name in row if name.startswith("probability_")]
    known = [place for place in places if row[f"probability_{place}"]]
    return Prediction(
        path=row[PATH],
        classes=tuple(row[f"class_{place}"] for place in known),
        probabilities=tuple(float(row[f"probability_{place}"]) for place in known),
        distance=float(row[DISTANCE]) if row.get(DISTANCE) else None,
        error=row[ERROR],
    )


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
