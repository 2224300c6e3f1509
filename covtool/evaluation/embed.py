"""A model and images, both as a user names them, become a file of features."""

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
from covtool.data.images.dim import note_on_dim
from covtool.data.images.orientation import note_on_turned
from covtool.evaluation.features.files import FeatureWriter, check_feature_output
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.model_request import ModelRequest
from covtool.evaluation.retrieval.search import image_label
from covtool.processes import Processes, joined
from covtool.progress import Track, silent
from covtool.specs import DescriptionSpec, InputSpec

FLOAT_BYTES = 4  # of a number in a file of features


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionRequest(ModelRequest):
    """Which images to describe, and where to; see `ModelRequest` for the rest.

    Attributes:
        images: A data set, a folder, a list or an image; see `find_images`.
        split: Which of its splits; None for all.
        output: File to write: ``.safetensors``, ``.npz`` or ``.csv``.
        spec: Which features.
        overwrite: Whether `output` may replace another file.
    """

    images: Path
    split: str | None = None
    output: Path
    spec: DescriptionSpec = field(default_factory=DescriptionSpec)
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `describe` wrote.

    Attributes:
        path: The file.
        images: How many are in it, by split.
        num_features: Numbers that describe an image.
        layer: Path of the module whose input they are; "" for the model's own output.
        device: Where the model ran.
        input: How the images were prepared.
        unreadable: File and reason of images that were left out.
        far_from_training: Whether the images are so far from what the file was made for that the
            features are others.
        notes: What was assumed about the model, and what is worth knowing about the images.
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


def describe(request: DescriptionRequest, *, track: Track = silent) -> Description:
    """Write a model's features of images to a file, whole or not at all.

    Features go to the disk batch by batch. Under torchrun, each process describes a part of the
    images and the main one writes them, in order.

    Raises:
        DataError: See `find_images` and `check_images`.
        CheckpointError: The model cannot be opened.
        ArgumentError: There is no such device, or the file cannot be written.
        OutputExistsError: There is such a file.
        SurgeryError: The model has no linear classifier.
        NonFiniteError: A feature is not a finite number.
        SaveError: The disk is full, say.
    """
    check_feature_output(request.output, overwrite=request.overwrite)
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        return _described(request, processes, track if processes.is_main else silent)


def _described(request: DescriptionRequest, processes: Processes, track: Track) -> Description:
    device = resolve_device(request.device, processes)
    source = find_images(request.images)
    labels, samples = _images(source, request.split)
    checked = check_images(
        samples, on_bad_image=request.on_bad_image, track=track, processes=processes
    )
    good = [labels[sample.label] for sample in checked.good]
    opened = request.open()
    extractor = request.extractor(opened, request.spec, device=device, processes=processes)
    num_bytes = 2 * FLOAT_BYTES * len(good) * extractor.num_features  # on the way, and at the end
    processes.main(lambda: require_room(request.output, num_bytes))
    _write(request, extractor(checked.good, track), good if processes.is_main else None)
    turned = note_on_turned(checked.turned, exif=opened.recipe.input.exif)
    of_images = filter(None, (turned, note_on_dim(checked.dim)))
    return Description(
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
    """Return what is known about the images, and the images, numbered."""
    chosen = [
        (sample, "" if name == UNSPLIT else name)
        for name, samples in source.chosen(split).items()
        for sample in samples
    ]
    labels = [image_label(sample, name, source.folder) for sample, name in chosen]
    return labels, numbered([sample for sample, _ in chosen])


def _write(
    request: DescriptionRequest, batches: Iterator[Tensor], labels: list[ImageLabels] | None
) -> None:
    """Write the features as they come; with None for labels, let them come and go."""
    if labels is None:
        deque(batches, maxlen=0)
        return
    following = iter(labels)
    with FeatureWriter(request.output, overwrite=request.overwrite) as writer:
        for features in batches:
            writer.append(features, islice(following, len(features)))
