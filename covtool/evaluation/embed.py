"""Features of images, extracted by a model into a file."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from torch import Tensor

from covtool.atomic import require_room
from covtool.backbones.device import resolve_device
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.image_sources import ImageSource, find_images
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.samples import Sample
from covtool.evaluation.features.files import FeatureWriter, check_feature_output
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.model_request import ModelRequest
from covtool.evaluation.retrieval.search import image_label
from covtool.processes import Processes, joined
from covtool.progress import Track, main_only, silent
from covtool.specs import FeatureSpec, InputSpec

FLOAT_BYTES = 4  # of a number in a file of features


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest(ModelRequest):
    """A model, images, and the file for their features; see `ModelRequest` for the rest.

    Attributes:
        images: A data set, a folder, a list or an image; see `find_images`.
        split: One of its splits; None for all.
        output: File to write: ``.safetensors``, ``.npz`` or ``.csv``.
        spec: Choice of the features.
        overwrite: Whether `output` may replace another file.
    """

    images: Path
    split: str | None = None
    output: Path
    spec: FeatureSpec = field(default_factory=FeatureSpec)
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResult:
    """The file that `embed` wrote.

    Attributes:
        path: Path of the file.
        images: Number of images in it, by split.
        num_features: Features of an image.
        layer: Path of the module whose input they are; "" for the model's own output.
        device: Device that the model ran on.
        input: Preparation of the images.
        unreadable: File and reason of images that were left out.
        far_from_training: Whether the images are so far from what the file was made for that the
            features are others.
        notes: Assumptions about the model, and warnings about the images.
    """

    path: Path
    images: dict[str, int]
    num_features: int
    layer: str
    device: str
    input: InputSpec
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    far_from_training: bool = False


def embed(request: EmbedRequest, *, track: Track = silent) -> EmbedResult:
    """Write a model's features of images to a file, whole or not at all.

    Features go to the disk batch by batch. Under torchrun, each process works on a part of the
    images and the main one writes their features, in order.

    Raises:
        DataError: See `find_images` and `check_images`.
        CheckpointError: The model cannot be opened.
        ArgumentError: There is no such device, or the file cannot be written.
        OutputExistsError: There is such a file.
        SurgeryError: The model has no linear classifier.
        NonFiniteError: A feature is not a finite number.
        SaveError: The disk is full, say.
    """
    check_feature_output(request.output, overwrite=request.overwrite)  # before hours of work
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        return _embed(request, processes, main_only(track, is_main=processes.is_main))


def _embed(request: EmbedRequest, processes: Processes, track: Track) -> EmbedResult:
    device = resolve_device(request.device, processes)
    source = find_images(request.images)
    labels, samples = _images(source, request.split)
    checked = check_images(
        samples, on_bad_image=request.on_bad_image, track=track, processes=processes
    )
    good = [labels[sample.label] for sample in checked.good]
    opened = request.open()
    extractor = request.extractor(opened, request.spec, device=device, processes=processes)
    # Twice: the features lie in a spool file until they are all there, then in the output.
    num_bytes = 2 * FLOAT_BYTES * len(good) * extractor.num_features
    processes.main(lambda: require_room(request.output, num_bytes))
    with request.autocast(device):
        _write(request, extractor(checked.good, track), good if processes.is_main else None)
    of_images = checked.notes(exif=opened.recipe.input.exif)
    return EmbedResult(
        path=request.output,
        images=dict(Counter(label.split or UNSPLIT for label in good)),
        num_features=extractor.num_features,
        layer=extractor.layer,
        device=str(device),
        input=opened.recipe.input,
        unreadable=checked.bad,
        far_from_training=opened.is_far,
        notes=(*opened.notes, *source.notes, *of_images),
    )


def _images(source: ImageSource, split: str | None) -> tuple[list[ImageLabels], tuple[Sample, ...]]:
    """Return the labels of the chosen images, and the images, numbered as their labels are."""
    chosen = [
        (sample, "" if name == UNSPLIT else name)
        for name, samples in source.chosen(split).items()
        for sample in samples
    ]
    labels = [image_label(sample, name, source.folder) for sample, name in chosen]
    return labels, numbered([sample for sample, _ in chosen])


def _write(
    request: EmbedRequest, batches: Iterator[Tensor], labels: list[ImageLabels] | None
) -> None:
    """Write the features as they come; without labels, only take part in computing them."""
    if labels is None:  # every process must use the batches up: they meet in each
        deque(batches, maxlen=0)
        return
    following = iter(labels)
    with FeatureWriter(request.output, overwrite=request.overwrite) as writer:
        for features in batches:
            writer.append(features, islice(following, len(features)))
