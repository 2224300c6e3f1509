"""An index made of images and a model."""

from dataclasses import dataclass, field
from pathlib import Path

from covtool import __version__
from covtool.atomic import require_writable
from covtool.atomic.formats import require_index_name
from covtool.backbones.device import resolve_device
from covtool.checkpoints.opened import OpenedModel
from covtool.data.datasets.checking import CheckedSamples, check_images
from covtool.evaluation.model_request import ModelRequest
from covtool.indexing.fingerprint import kept_source, model_fingerprint
from covtool.indexing.gallery import collect_images
from covtool.indexing.in_use import index_in_use
from covtool.indexing.index_record import IndexRecord, folder_text
from covtool.indexing.inverted_file import require_faiss
from covtool.indexing.making import IndexMaking, IndexResult
from covtool.indexing.thresholds import ThresholdChoice
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.specs.indexing import IndexSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRequest(ModelRequest):
    """A model, images, and the index to make of them; see `ModelRequest` for the rest.

    Attributes:
        images: Data sets, folders, lists and images; see `find_images`.
        split: A split of them; None for all.
        output: File to write: ``.index``.
        spec: Features, their comparison, threshold and inverted file.
        overwrite: Whether `output` may replace another file.
    """

    images: tuple[Path, ...]
    split: str | None = None
    output: Path
    spec: IndexSpec = field(default_factory=IndexSpec)
    overwrite: bool = False


def build_index(request: IndexRequest, *, track: Track = silent) -> IndexResult:
    """Write an index of images: features, labels, and the fingerprint of the model.

    Raises:
        ArgumentError: The output's name is not an index's, settings contradict each other, faiss is
            missing, or there is no such device.
        OutputExistsError: There is such a file.
        DataError: There are no images, none to choose a threshold on, or another command changes
            the index that is to be replaced.
        CheckpointError: The model cannot be opened.
        NonFiniteError: A feature is not a finite number.
        SaveError: The disk is full, say.
    """
    require_index_name(request.output)
    require_writable(request.output, overwrite=request.overwrite)
    check_spec(request.spec)
    with index_in_use(request.output):
        return _build(request, track)


def _build(request: IndexRequest, track: Track) -> IndexResult:
    spec = request.spec
    found = collect_images(request.images, split=request.split)
    threshold = ThresholdChoice.of(spec, found.labels)
    checked = check_images(found.samples, on_bad_image=request.on_bad_image, track=track)
    opened = request.open()
    device = resolve_device(request.device, ALONE)
    extractor = request.extractor(opened, spec, device=device, processes=ALONE)
    # The same preparation for every search, whatever is the usual one by then.
    images = opened.recipe.input.model_dump(mode="json")
    record = IndexRecord(
        model=kept_source(request.source).model_copy(update={"input": images}),
        fingerprint=model_fingerprint(opened, extractor.layer, spec),
        feature=spec.feature,
        flip_test=spec.flip_test,
        layer=extractor.layer,
        input=opened.recipe.input,
        metric=spec.metric,
        folder=folder_text(found.folder),
        covtool_version=__version__,
    )
    labels = tuple(found.labels[sample.label] for sample in checked.good)
    making = IndexMaking(
        path=request.output,
        record=record,
        labels=labels,
        new=checked.good,
        extractor=extractor,
        threshold=threshold,
        has_inverted_file=spec.faiss,
        overwrite=request.overwrite,
    )
    finished = making.write(track)
    return IndexResult(
        path=request.output,
        images=len(labels),
        added=len(labels),
        record=finished,
        num_features=extractor.num_features,
        device=str(device),
        unreadable=checked.bad,
        far_from_training=opened.is_far,
        notes=(*opened.notes, *found.notes, *notes_on(checked, opened), *making.notes),
    )


def check_spec(spec: IndexSpec) -> None:
    """Refuse settings that contradict each other, or cannot be followed.

    Raises:
        ArgumentError: They do, or faiss is missing.
    """
    spec.validate_fields()
    if spec.faiss:
        require_faiss()  # before hours of work


def notes_on(checked: CheckedSamples, opened: OpenedModel) -> tuple[str, ...]:
    """Return notes on what the images are."""
    return checked.notes(exif=opened.recipe.input.exif)
