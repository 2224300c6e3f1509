"""The writing of an index: features as they come, then a threshold and an inverted file."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from covtool.atomic import place_of, require_room
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.evaluation.embed import FLOAT_BYTES
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.table import ImageLabels
from covtool.indexing.index_file import Index, RecordInTheMaking, index_writer, read_record
from covtool.indexing.index_record import IndexRecord
from covtool.indexing.inverted_file import build_inverted_file
from covtool.indexing.thresholds import ThresholdChoice
from covtool.progress import Track

_BLOCK = 4096
_INVERTED = re.compile(r"\.[0-9a-f]{12}\.faiss")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexResult:
    """An index that was written.

    Attributes:
        path: The file.
        images: Number of its images.
        added: Number of those that are new.
        replaced: Number of those that it had already.
        removed: Number of images that it had before.
        record: Model, threshold and inverted file.
        num_features: Features of an image.
        device: Device that the model ran on; None where it was not run.
        unreadable: File and reason of images that were left out.
        notes: Assumptions about model and images.
        far_from_training: Whether the images are so far from what the model was made for that the
            features are others.
    """

    path: Path
    images: int
    added: int
    replaced: int = 0
    removed: int = 0
    record: IndexRecord
    num_features: int
    device: str | None
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    far_from_training: bool = False


@dataclass(kw_only=True)
class IndexMaking:
    """An index that is to be written.

    Attributes:
        path: The file.
        record: Record of it, with the threshold and inverted file that it had.
        labels: Labels of all its images: those that are kept, then the new ones.
        kept: Index whose images are kept; None for a new one.
        rows: Its rows that are kept.
        new: Images whose features are extracted.
        extractor: Extractor of features; None where there is nothing to extract.
        threshold: Choice of its threshold; None for that of `record`.
        has_inverted_file: Whether it gets an inverted file.
        overwrite: Whether another file may be replaced.
        notes: Notes for the user, filled while it is written.
    """

    path: Path
    record: IndexRecord
    labels: Sequence[ImageLabels]
    kept: Index | None = None
    rows: Sequence[int] = ()
    new: Sequence[Sample] = ()
    extractor: FeatureExtractor | None = None
    threshold: ThresholdChoice | None = None
    has_inverted_file: bool = False
    overwrite: bool = False
    notes: list[str] = field(default_factory=list)

    def write(self, track: Track) -> IndexRecord:
        """Write the file, whole or not at all, and return its record.

        Raises:
            NonFiniteError: A feature is not a finite number.
            DataError: The file that is changed was changed by another program meanwhile.
            SaveError: The disk is full, say.
        """
        # Twice: the features lie in a spool file until they are all there, then in the output.
        num_features = self._num_features()
        require_room(self.path, 2 * FLOAT_BYTES * len(self.labels) * num_features)
        making = RecordInTheMaking(replaces=None if self.kept is None else self.kept.state)
        try:
            with index_writer(self.path, making, overwrite=self.overwrite) as writer:
                following = iter(self.labels)
                for features in self._features(track):
                    writer.append(features, islice(following, len(features)))
                stored = torch.from_numpy(writer.stored())
                making.finished = self._finished(stored, track)
        except BaseException:
            self._remove_unused(making.finished)
            raise
        self._remove_inverted_files_but(making.finished)
        return making.finished

    def _num_features(self) -> int:
        if self.kept is not None:
            return self.kept.features.shape[1]
        assert self.extractor is not None, "a new index has new images"
        return self.extractor.num_features

    def _features(self, track: Track) -> Iterator[Tensor]:
        """Yield the features of `labels`, block by block."""
        for rows in torch.tensor(self.rows, dtype=torch.long).split(_BLOCK):
            if self.kept is not None and len(rows):
                yield self.kept.features[rows]
        if self.new and self.extractor is not None:
            yield from self.extractor(self.new, track)

    def _finished(self, stored: Tensor, track: Track) -> IndexRecord:
        threshold, inverted = self.record.threshold, None
        if self.threshold is not None:
            threshold = self.threshold.choose(stored, self.labels, self.extractor, track)
            self.notes.extend(self.threshold.notes)
        if self.has_inverted_file:
            inverted = build_inverted_file(self.path, stored, self.record.metric, track=track)
        return self.record.model_copy(update={"threshold": threshold, "inverted_file": inverted})

    def _remove_unused(self, record: IndexRecord | None) -> None:
        """Remove the inverted file of an index that was not written after all."""
        made = None if record is None else record.inverted_file
        if made is None:
            return
        used = None
        with suppress(DataError):  # there is no index
            used = read_record(self.path).inverted_file
        if used is None or used.file != made.file:
            place_of(self.path).with_name(made.file).unlink(missing_ok=True)

    def _remove_inverted_files_but(self, record: IndexRecord) -> None:
        """Remove inverted files of another state of the index, and of commands that were killed."""
        own = None if record.inverted_file is None else record.inverted_file.file
        place = place_of(self.path)
        with suppress(OSError):  # one that stays does no harm
            for path in place.parent.glob("*.faiss"):
                name = path.name
                is_ours = name.startswith(place.name) and _INVERTED.fullmatch(
                    name[len(place.name) :]
                )
                if is_ours and name != own:
                    path.unlink()
