"""Files of features: written batch by batch, whole or not at all; read with every check."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from covtool.atomic import (
    place_of,
    require_feature_name,
    require_writable,
    saving,
    written_whole,
)
from covtool.errors import CovtoolError, DataError, NonFiniteError, ShapeError, reason_of
from covtool.evaluation.features.formats import (
    COLUMNS,
    Columns,
    FeatureFormat,
    format_of,
    readable_format_of,
)
from covtool.evaluation.features.table import FeatureTable, ImageLabels


def check_feature_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        ArgumentError: The suffix stands for no format, or the folder does not exist.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    require_feature_name(path)
    require_writable(path, overwrite=overwrite)


def read_features(path: str | Path) -> FeatureTable:
    """Return features and labels in a file that `FeatureWriter` or another program wrote.

    Args:
        path: ``.safetensors`` and ``.npz`` with ``features`` (N, D) and perhaps ``paths``,
            ``identities``, ``cameras`` and ``splits``; ``.csv`` with a line for each image;
            ``.index`` of `covtool index`.

    Raises:
        ArgumentError: The suffix stands for no format.
        DataError: The file is missing or damaged, is not as covtool wrote it, holds no features, or
            its lengths differ.
    """
    path = Path(path)
    read = readable_format_of(path).read
    try:
        features, columns = read(path)
    except FileNotFoundError as problem:
        raise DataError(f"There is no file {path}.") from problem
    except CovtoolError:
        raise
    except (OSError, ValueError, SafetensorError) as problem:
        raise DataError(
            f"The features in {path} cannot be read.", reason=reason_of(problem)
        ) from problem
    if features.ndim != 2 or not features.is_floating_point():
        raise DataError(
            f"The features in {path} are not a matrix of floating-point numbers.",
            reason=f"They are {features.dtype} of shape {tuple(features.shape)}.",
        )
    for name, column in columns.items():
        if len(column) != len(features):
            raise DataError(
                f"{path} has features of {len(features)} images, but {len(column)} {COLUMNS[name]}."
            )
    return FeatureTable(features=features.float(), labels=labels_of(columns, len(features)))


def write_features(path: str | Path, table: FeatureTable, *, overwrite: bool = False) -> Path:
    """Write features and labels; see `FeatureWriter`."""
    with FeatureWriter(path, overwrite=overwrite) as writer:
        writer.append(table.features, table.labels)
    return writer.path


class FeatureWriter:
    """Writes features batch by batch; a context manager.

    What was appended lies on the disk, not in memory. The file appears when the block ends without
    an error, in the format of its suffix; labels that no image has are left out.

    Args:
        path: File that ends in ``.safetensors``, ``.npz`` or ``.csv``, in a folder that exists.
        overwrite: Whether an existing file may be replaced.
        format: Format of the file; None for that of its suffix.

    Raises:
        ArgumentError: See `check_feature_output`.
        OutputExistsError: There is such a file, and `overwrite` is False.
        SaveError: The disk is full, say; when appending or at the end.
        DataError: Nothing was appended; at the end.
    """

    def __init__(
        self, path: str | Path, *, overwrite: bool = False, format: FeatureFormat | None = None
    ) -> None:
        self.path = Path(path)
        self._write = (format or format_of(self.path)).write
        require_writable(self.path, overwrite=overwrite)
        self._overwrite = overwrite
        self._labels: list[ImageLabels] = []
        self._num_features: int | None = None

    def __enter__(self) -> Self:
        # In the output's folder, on the disk whose room is known; without a buffer, which would be
        # written when the file is closed, where a full disk is not reported any more.
        with saving(self.path):
            self._spool = TemporaryFile(dir=place_of(self.path).parent, buffering=0)
        return self

    def append(self, features: Tensor, labels: Iterable[ImageLabels]) -> None:
        """Add images.

        Args:
            features: Features of B images, shape (B, D), on any device; D as in the first batch.
            labels: Labels of the B images.

        Raises:
            DataError: There are not as many labels as features.
            NonFiniteError: A feature is not a finite number.
            ShapeError: The features are not (B, D).
        """
        labels = list(labels)
        if features.ndim != 2 or self._num_features not in (None, features.shape[1]):
            raise ShapeError.expected("features", f"(B, {self._num_features or 'D'})", features)
        if len(labels) != len(features):
            raise DataError(
                f"There are features of {len(features)} images, but labels of {len(labels)}."
            )
        # Before anything is written: the error can name the image.
        finite = features.isfinite().all(1)
        if not finite.all():
            raise NonFiniteError(
                f"The features of {labels[int((~finite).nonzero()[0])].path or 'an image'} are not "
                "finite numbers.",
                hint="covtool inspect says whether the weights hold non-finite values.",
            )
        self._num_features = features.shape[1]
        self._labels += labels
        values = features.detach().to("cpu", torch.float32).contiguous().numpy()
        with saving(self.path):
            _write_all(self._spool, values)

    def stored(self) -> np.ndarray:
        """Return the features of all images so far, shape (N, D), as the disk holds them."""
        shape = (len(self._labels), self._num_features)
        # Copied on write, and never written to: torch warns about read-only memory.
        return np.memmap(self._spool, np.float32, mode="c", shape=shape)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._spool:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if not self._labels:
            raise DataError("There are no features to write.")
        columns = columns_of(self._labels)
        with written_whole(self.path, overwrite=self._overwrite) as temporary:
            self._write(temporary, self.stored(), columns)


def _write_all(file: BinaryIO, values: np.ndarray) -> None:
    """Write an array; the system may take a part at a time."""
    data = memoryview(values).cast("B") if values.size else b""
    while data:  # an unbuffered `write` returns how much it took, without an error
        data = data[file.write(data) :]


def columns_of(labels: Sequence[ImageLabels]) -> Columns:
    """Return the labels that any of the images has, as columns."""
    names = [name for name in COLUMNS if any(getattr(row, name) for row in labels)]
    return {name: [getattr(row, name) for row in labels] for name in names}


def labels_of(columns: Columns, count: int) -> tuple[ImageLabels, ...]:
    """Return the labels of `count` images from columns; empty where there is no column."""
    names = list(columns)
    rows = zip(*columns.values(), strict=True) if names else [()] * count
    return tuple(ImageLabels(**dict(zip(names, row, strict=True))) for row in rows)
