"""The file of the embeddings of an evaluation's images."""

from pathlib import Path

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

    The images are read once more, batch by batch: embeddings of all may not fit into memory.

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
    extractor = request.extractor(
        done.opened, FeatureSpec(), device=resolve_device(request.device, ALONE), processes=ALONE
    )
    labels = subject.answers.right.tolist()
    samples = [Sample(*pair) for pair in zip(done.paths, labels, strict=True)]
    start = 0
    with FeatureWriter(path, overwrite=overwrite) as writer:
        for features in extractor(samples, track):
            own = done.paths[start : start + len(features)]
            writer.append(features, [ImageLabels(path=str(image)) for image in own])
            start += len(features)
    return path
