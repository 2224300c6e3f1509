"""An inverted file of faiss beside an index: a search looks into a part of the gallery.

Vectors stand in lists by their nearest center, each number in 8 bits. The lists stay on the disk,
mapped into memory as they are looked into. What is found is compared once more, exactly.

Source:
    Douze et al. "The Faiss library", 2024. Jegou, Douze, Schmid. "Product Quantization for Nearest
    Neighbor Search", TPAMI 2011, section IV, has the inverted file.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from covtool.atomic import written_whole
from covtool.checkpoints.tensor_checksum import checksum
from covtool.errors import ArgumentError, DataError, reason_of
from covtool.evaluation.features.formats import FEATURES
from covtool.evaluation.retrieval.comparisons import METRICS
from covtool.full_paths import in_full
from covtool.indexing.index_record import InvertedFileRecord
from covtool.indexing.nearest import exact_nearest
from covtool.progress import Track, silent
from covtool.regular_files import MEBIBYTE, opened

RECALL_AT = 10
GOOD_RECALL = 0.99
"""Share of the nearest images that is to be found: as many lists are looked into as it takes."""
MEASURED = 500
"""Images of the gallery that recall is measured with."""
POINTS_PER_CENTER = 39
"""Images for each list at least, faiss's own number."""
TRAINED_PER_CENTER = 128
CANDIDATES = 4
"""Images that are compared exactly, for each that is to be found."""
_BLOCK = 4096
_SEED = 1234


def require_faiss() -> ModuleType:
    """Return faiss.

    Raises:
        ArgumentError: It is not installed.
    """
    try:
        import faiss
    except ImportError as problem:
        raise ArgumentError(
            "An inverted file needs faiss, which is not installed.",
            reason=reason_of(problem),
            hint="Install it: pip install 'covtool[faiss]', or search with --backend exact.",
        ) from problem
    return faiss


def build_inverted_file(
    index: Path, features: Tensor, metric: str, *, track: Track = silent
) -> InvertedFileRecord:
    """Write an inverted file beside an index, and measure how much a search in it finds.

    Args:
        index: Path of the index.
        features: Features of its images, shape (N, D), which need not lie in memory.
        metric: Distance between two images.
        track: Display of the progress.

    Raises:
        ArgumentError: faiss is not installed.
        SaveError: The file cannot be written.
    """
    faiss = require_faiss()
    prepared = _Prepared(features, metric)
    lists = max(1, min(round(2 * len(features) ** 0.5), len(features) // POINTS_PER_CENTER))
    made = _trained(faiss, prepared, lists)
    blocks = prepared.blocks()
    for block in track(blocks, "building the inverted file", -(-len(features) // _BLOCK)):
        made.add(block)
    # The name follows from the features: an index that is replaced keeps its own file until then.
    index = in_full(index)  # a link may have another name, in another folder
    name = f"{index.name}.{checksum({FEATURES: features})[:12]}.faiss"
    path = index.with_name(name)
    with written_whole(path) as temporary:
        faiss.write_index(made, str(temporary))
    probed, recall, queries = _measure(made, prepared, features, metric)
    return InvertedFileRecord(
        file=name,
        sha256=_digest(path),
        lists=lists,
        probed=probed,
        recall=recall,
        recall_at=min(RECALL_AT, len(features) - 1),
        queries=queries,
    )


def candidate_count(k: int) -> int:
    """Return how many images are compared exactly to find the nearest `k`."""
    return max(CANDIDATES * k, CANDIDATES * RECALL_AT)


class InvertedFile:
    """An inverted file that is searched.

    Args:
        index: Path of the index that it stands beside.
        record: Record of it in the index.
        features: Features of the index's images.
        metric: Distance between two images.

    Raises:
        ArgumentError: faiss is not installed.
        DataError: The file is missing or damaged.
    """

    def __init__(
        self, index: Path, record: InvertedFileRecord, features: Tensor, metric: str
    ) -> None:
        self._faiss = require_faiss()
        path = in_full(index).with_name(record.file)
        try:
            # Before faiss, which a damaged file may bring down, sees a byte of it.
            is_whole = _digest(path) == record.sha256
        except OSError as problem:
            raise DataError(
                f"The inverted file {path} cannot be read.",
                reason=reason_of(problem),
                hint="Make it again: covtool index INDEX --faiss, or search with --backend exact.",
            ) from problem
        if not is_whole:
            raise DataError(
                f"The inverted file {path} is damaged: it is not what covtool wrote.",
                hint="Make it again: covtool index INDEX --faiss, or search with --backend exact.",
            )
        flags = self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY
        self._file = self._faiss.read_index(str(path), flags)
        if self._file.ntotal != len(features) or self._file.d != features.shape[1]:
            raise DataError(f"The inverted file {path} is of another gallery than {index}.")
        self._prepared = _Prepared(features, metric)
        self._probed = record.probed

    def candidates(self, queries: Tensor, count: int, allowed: np.ndarray | None = None) -> Tensor:
        """Return images of the gallery that are probably the nearest to each query.

        Args:
            queries: Features of the queries, shape (B, D).
            count: Number of images to find; see `candidate_count`.
            allowed: Whether each image of the gallery may be found, shape (N,); None for all.

        Returns:
            Places in the gallery for each query, shape (B, m), m at most `count`; -1 for none.
        """
        settings: dict[str, Any] = {"nprobe": self._probed}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            settings["sel"] = self._faiss.IDSelectorBitmap(bits)
        parameters = self._faiss.SearchParametersIVF(**settings)
        x = self._prepared.of(queries)
        _, found = self._file.search(x, min(count, self._file.ntotal), params=parameters)
        return torch.from_numpy(found)


class _Prepared:
    """Features as an inverted file compares them: of length 1 for cosine."""

    def __init__(self, features: Tensor, metric: str) -> None:
        self.features = features
        self.metric = metric
        self._comparison = METRICS[metric]([features])

    def __len__(self) -> int:
        return len(self.features)

    def of(self, features: Tensor) -> np.ndarray:
        """Return some features, prepared."""
        return np.ascontiguousarray(self._comparison.prepare(features).numpy())

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all features, block by block."""
        for block in self.features.split(_BLOCK):
            yield self.of(block)


def _trained(faiss: ModuleType, prepared: _Prepared, lists: int) -> Any:
    """Return an inverted file without images, its centers chosen on images at equal distances."""
    dimension = prepared.features.shape[1]
    is_cosine = prepared.metric == "cosine"
    metric = faiss.METRIC_INNER_PRODUCT if is_cosine else faiss.METRIC_L2
    coarse = (faiss.IndexFlatIP if is_cosine else faiss.IndexFlatL2)(dimension)
    made = faiss.IndexIVFScalarQuantizer(
        coarse, dimension, lists, faiss.ScalarQuantizer.QT_8bit, metric, False
    )
    made.cp.min_points_per_centroid = 1
    made.cp.seed = _SEED
    count = min(len(prepared), TRAINED_PER_CENTER * lists)
    rows = torch.linspace(0, len(prepared) - 1, count, dtype=torch.float64).round().long()
    made.train(prepared.of(prepared.features[rows]))
    return made


def _measure(
    made: Any, prepared: _Prepared, features: Tensor, metric: str
) -> tuple[int, float, int]:
    """Return how many lists to look into, the recall then, and the number of queries."""
    count, k = min(MEASURED, len(features)), min(RECALL_AT, len(features) - 1)
    rows = torch.linspace(0, len(features) - 1, count, dtype=torch.float64).round().long()
    if k < 1:
        return made.nlist, 1.0, count
    nearest = exact_nearest(features[rows], features, metric, k, excluded=rows)
    x = prepared.of(features[rows])
    probed = 1
    while True:
        made.nprobe = probed
        _, found = made.search(x, candidate_count(k) + 1)
        recall = _recall(found, nearest, rows)
        if recall >= GOOD_RECALL or probed >= made.nlist:
            return probed, recall, count
        probed = min(2 * probed, made.nlist)


def _recall(found: np.ndarray, nearest: Tensor, rows: Tensor) -> float:
    """Return the share of the nearest images among what was found, the query itself left out."""
    hits = 0
    for row, own, wanted in zip(rows.tolist(), found.tolist(), nearest.tolist(), strict=True):
        hits += len({place for place in own if place != row} & set(wanted))
    return hits / nearest.numel()


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(4 * MEBIBYTE):
            found.update(block)
    return found.hexdigest()
