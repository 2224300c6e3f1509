"""The file of the embeddings of an evaluation's images."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from covtool.backbones.device import resolve_device
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.evaluation.evaluate import EvaluationRequest
from covtool.evaluation.features.files import FeatureWriter
from covtool.evaluation.features.table import ImageLabels
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.reporting.subjects import Subject
from covtool.specs import FeatureSpec


def save_embeddings(
    subject: Subject,
    request: EvaluationRequest,
    path: Path,
    *,
    overwrite: bool = False,
    track: Track = silent,
) -> Path:
    """Write the classifier's input for each image, in the order of ``predictions.csv``.

    Where the evaluation has not kept them (`EvaluationRequest.keep_inputs`), the images are read
    once more, batch by batch.

    Args:
        subject: The evaluation, with its model; with an attack, the images as they are.
        request: How it read the images.
        path: File that ends in ``.safetensors``, ``.npz`` or ``.csv``.
        overwrite: Whether to replace an existing file.
        track: Display of the progress.

    Raises:
        DataError: The files of the images are not known, or are gone.
        SurgeryError: The model has no linear classifier.
        OutputExistsError: There is such a file, and `overwrite` is False.
        SaveError: The file cannot be written.
        NonFiniteError: An embedding is not finite.
    """
    done = subject.done
    if done.opened is None or not done.paths:
        raise DataError(
            "The embeddings cannot be written.", reason="Files of the images are not known."
        )
    kept = subject.answers.inputs
    start = 0
    with FeatureWriter(path, overwrite=overwrite) as writer:
        for features in (
            _read_again(subject, request, track) if kept is None else kept.split(request.batch_size)
        ):
            own = done.paths[start : start + len(features)]
            writer.append(features, [ImageLabels(path=str(image)) for image in own])
            start += len(features)
    return path


def _read_again(subject: Subject, request: EvaluationRequest, track: Track) -> Iterator[Tensor]:
    done, device = subject.done, resolve_device(request.device, ALONE)
    extractor = request.extractor(done.opened, FeatureSpec(), device=device, processes=ALONE)
    labels = subject.answers.right.tolist()
    samples = [Sample(*pair) for pair in zip(done.paths, labels, strict=True)]
    yield from request.in_autocast(extractor(samples, track), device)
