"""An index that is changed: images are added or removed, a threshold is chosen."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from covtool.atomic import require_writable
from covtool.atomic.formats import require_index_name
from covtool.backbones.device import resolve_device
from covtool.checkpoints.opened import OpenedModel
from covtool.data.datasets.checking import CheckedSamples, check_images
from covtool.data.datasets.found_images import counted
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.model_request import ModelRequest
from covtool.indexing.building import check_spec, notes_on
from covtool.indexing.fingerprint import open_for_index, require_same_model, spec_of
from covtool.indexing.gallery import collect_images, path_in
from covtool.indexing.in_use import index_in_use
from covtool.indexing.index_file import Index, read_index
from covtool.indexing.index_record import IndexRecord
from covtool.indexing.making import IndexMaking, IndexResult
from covtool.indexing.thresholds import ThresholdChoice
from covtool.printable import first_few, printable
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.specs import ModelSource
from covtool.specs.indexing import IndexSpec

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange(ModelRequest):
    """Images to add to an index or to remove from it, or a threshold for it.

    Attributes:
        source: The model, or its name alone; None for the place that the index keeps.
        index: File of the index, which is replaced.
        add: Data sets, folders, lists and images to add.
        remove: Images and folders to remove, as paths on the disk or as the index names them.
        split: A split of the images to add; None for all.
        spec: Threshold and inverted file; the features are those of the index.
        overwrite: Whether images that are in the index already are replaced.
    """

    source: ModelSource | None = None
    index: Path
    add: tuple[Path, ...] = ()
    remove: tuple[Path, ...] = ()
    split: str | None = None
    spec: IndexSpec = field(default_factory=IndexSpec)
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.source is not None:
            ModelRequest.__post_init__(self)


def change_index(request: IndexChange, *, track: Track = silent) -> IndexResult:
    """Add images to an index, remove images from it, or choose a threshold for it.

    The file is replaced whole or stays as it is.

    Raises:
        ArgumentError: Settings contradict each other, or one belongs to the index.
        DataError: The index is damaged, an image is in it already, or is not, or another command
            changes it now.
        CheckpointError: The model cannot be opened, or is not the index's.
        NonFiniteError: A feature is not a finite number.
        SaveError: The disk is full, say.
    """
    require_index_name(request.index)
    check_spec(request.spec)
    require_writable(request.index, overwrite=True)
    with index_in_use(request.index):
        return _change(request, track)


def _change(request: IndexChange, track: Track) -> IndexResult:
    plan = _plan(request, track)
    record, threshold = plan.index.record, plan.threshold
    model = None
    if plan.added or (threshold is not None and threshold.data is not None):
        model = _open(request, record)
    making = IndexMaking(
        path=request.index,
        record=record,
        labels=plan.labels,
        kept=plan.index,
        rows=plan.rows,
        new=plan.checked.good,
        extractor=model and model.extractor,
        threshold=threshold,
        # Where there is an inverted file, it follows the images: it would be of others.
        has_inverted_file=request.spec.faiss or record.inverted_file is not None,
        overwrite=True,
    )
    finished = making.write(track)
    of_model = () if model is None else (*model.opened.notes, *notes_on(plan.checked, model.opened))
    return IndexResult(
        path=request.index,
        images=len(plan.labels),
        added=len(plan.added) - plan.replaced,
        replaced=plan.replaced,
        removed=plan.removed,
        record=finished,
        num_features=plan.index.features.shape[1],
        device=model and str(model.extractor.device),
        unreadable=plan.checked.bad,
        far_from_training=model is not None and model.opened.is_far,
        notes=(*of_model, *plan.notes, *making.notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A change, before any feature is extracted.

    Attributes:
        index: The index as it is.
        checked: Images to add.
        added: Labels of those that can be read.
        rows: Rows of the index that are kept.
        removed: Number of rows that are removed.
        replaced: Number of rows whose images are added again.
        threshold: Choice of a threshold; None for the index's own.
        notes: Assumptions about the images.
    """

    index: Index
    checked: CheckedSamples
    added: tuple[ImageLabels, ...]
    rows: tuple[int, ...]
    removed: int
    replaced: int
    threshold: ThresholdChoice | None
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[ImageLabels, ...]:
        """Labels of the index as it becomes."""
        return (*(self.index.labels[row] for row in self.rows), *self.added)


def _plan(request: IndexChange, track: Track) -> _Plan:
    index = read_index(request.index)
    _require_own_features(request.spec, index)
    removed = _rows_to_remove(index, request.remove)
    found, checked = None, CheckedSamples(good=(), bad=())
    if request.add:
        found = collect_images(request.add, split=request.split, folder=index.record.root)
        if not request.overwrite:
            _refuse_known(index, found.labels)
    offered = () if found is None else found.labels
    spec = request.spec.model_copy(update={"metric": index.record.metric})
    threshold = ThresholdChoice.of(spec, _joined(index, removed, offered))
    if found is not None:
        checked = check_images(found.samples, on_bad_image=request.on_bad_image, track=track)
    added = tuple(offered[sample.label] for sample in checked.good)
    replaced = _rows_of(index, {label.path for label in added}) - removed
    rows = tuple(row for row in range(len(index)) if row not in removed and row not in replaced)
    if not rows and not added:
        raise DataError(
            f"No image would be left in {request.index}.", hint="Remove the file instead."
        )
    is_stale = threshold is None and bool(added or removed)
    return _Plan(
        index=index,
        checked=checked,
        added=added,
        rows=rows,
        removed=len(removed),
        replaced=len(replaced),
        threshold=threshold,
        notes=(
            *(() if found is None else found.notes),
            *_on_unlabeled(index, added),
            *(_on_old_threshold(index.record) if is_stale else ()),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    opened: OpenedModel
    extractor: FeatureExtractor


def _open(request: IndexChange, record: IndexRecord) -> _Model:
    """Return the model of the index, and the extractor of its features."""
    asked = ModelRequest(
        source=record.model if request.source is None else request.source,
        batch_size=request.batch_size,
        workers=request.workers,
        device=request.device,
    )
    opened, asked = open_for_index(record, asked, request.index)
    device = resolve_device(request.device, ALONE)
    extractor = asked.extractor(opened, spec_of(record), device=device, processes=ALONE)
    require_same_model(record, opened, extractor, asked.source.name, request.index)
    return _Model(opened=opened, extractor=extractor)


def _require_own_features(spec: IndexSpec, index: Index) -> None:
    """Refuse features, or a distance, that are not the index's.

    Raises:
        ArgumentError: They are others, and no defaults.
    """
    record, defaults = index.record, IndexSpec()
    for name in ("feature", "flip_test", "metric"):
        asked, own = getattr(spec, name), getattr(record, name)
        if asked not in (getattr(defaults, name), own):
            raise ArgumentError(
                f"{index.path} has {name.replace('_', '-')} {own}, not {asked}: that cannot be "
                "changed.",
                hint="Make an index anew, or leave the option out.",
            )


def _rows_of(index: Index, paths: Collection[str]) -> set[int]:
    return {row for row, label in enumerate(index.labels) if label.path in paths}


def _joined(
    index: Index, removed: Collection[int], offered: Sequence[ImageLabels]
) -> list[ImageLabels]:
    """Return the labels that the index has afterwards, if all images can be read."""
    new = {label.path for label in offered}
    kept = (label for row, label in enumerate(index.labels) if row not in removed)
    return [*(label for label in kept if label.path not in new), *offered]


def _refuse_known(index: Index, offered: Sequence[ImageLabels]) -> None:
    known = {label.path for label in index.labels}
    twice = [label.path for label in offered if label.path in known]
    if twice:
        raise DataError(
            f"{counted(len(twice), 'image')} of {counted(len(offered), 'image')} "
            f"{'are' if len(twice) > 1 else 'is'} in {index.path} already.",
            reason=f"{first_few(twice, SHOWN, show=printable)}.",
            hint="Add --overwrite to extract their features again, or leave them out.",
        )


def _rows_to_remove(index: Index, paths: Sequence[Path]) -> set[int]:
    """Return the rows of images and of folders that are to be removed.

    Raises:
        DataError: One of them is not in the index.
    """
    found: set[int] = set()
    missing = []
    places = {label.path: row for row, label in enumerate(index.labels)}
    for path in paths:
        names = tuple(_names(index, path))
        images = ({places[name]} for name in names if name in places)
        folders = (_rows_below(index, name) for name in names)
        # Images first: of thousands, each would be looked for among all.
        rows = next(filter(None, chain(images, folders)), None)
        if rows is None:
            missing.append(path)
        else:
            found |= rows
    if missing:
        raise DataError(
            f"{index.path} has no image {first_few(missing, SHOWN, show=_shown)}.",
            reason=f"Its paths are relative to {index.record.root}, as in "
            f"{printable(index.labels[0].path)}.",
            hint="Name images or folders as they are in the index, or as they are on the disk.",
        )
    return found


def _names(index: Index, path: Path) -> Iterator[str]:
    """Yield what an image or a folder may be called in the index: as it is on the disk first."""
    yield path_in(index.record.root, path)
    yield path.as_posix()


def _rows_below(index: Index, name: str) -> set[int]:
    return {
        row
        for row, label in enumerate(index.labels)
        if name == "." or label.path.startswith(f"{name}/")
    }


def _shown(path: Path) -> str:
    return printable(str(path))


def _on_unlabeled(index: Index, added: Sequence[ImageLabels]) -> Iterator[str]:
    """Yield notes on labels that images of the index have and new ones lack."""
    for name, plural in (("identity", "identities"), ("camera", "cameras")):
        missing = sum(not getattr(label, name) for label in added)
        if missing and any(getattr(label, name) for label in index.labels):
            yield (
                f"{counted(missing, 'image')} of {len(added):,} came without {plural}, which "
                "others in the index have: a CSV with columns path,identity,camera gives them."
            )


def _on_old_threshold(record: IndexRecord) -> Iterator[str]:
    if record.threshold is not None and record.threshold.of_gallery:
        yield (
            "The threshold is that of the images before the change: --threshold auto chooses it "
            "again."
        )
