"""Figures of a search by two cameras: the query's, and the one whose images are searched alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.evaluation.retrieval.metrics import ranking_figures
from covtool.evaluation.retrieval.relevance import Relevance, SameIdentity
from covtool.ops.ranking import ranks_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraFigures:
    """Figures of each query for each of C cameras, in whose images alone it is looked for.

    NaN where the query has no match among the camera's images, as for its own camera.

    Attributes:
        images: An image of each camera, as positions in the gallery, shape (C,).
        average_precision: In percent, float64, shape (queries, C).
        first_rank: Rank of the first match, float64, shape (queries, C).
    """

    images: Tensor
    average_precision: Tensor
    first_rank: Tensor


class CameraTally:
    """Ranks the images of each camera of a gallery apart, block by block of queries.

    Args:
        relevance: Ground truth, with cameras.

    Source:
        Zheng, Shen, Tian, Wang, Wang, Tian. "Scalable Person Re-identification: A Benchmark", ICCV
        2015, figure 7: accuracy between pairs of cameras.
    """

    def __init__(self, relevance: Relevance) -> None:
        cameras = relevance.gallery_cameras
        self._codes, self._camera_of = torch.unique(cameras, return_inverse=True)
        self._columns = [(self._camera_of == k).nonzero()[:, 0] for k in range(len(self._codes))]
        # Where an image stands among those of its camera.
        self._place = torch.empty_like(self._camera_of)
        for columns in self._columns:
            self._place[columns] = torch.arange(len(columns))
        self._gallery_rows = relevance.gallery_rows
        shape = (relevance.num_queries, len(self._codes))
        self._precisions = torch.full(shape, torch.nan, dtype=torch.float64)
        self._ranks = self._precisions.clone()

    def add(self, queries: Tensor, distances: Tensor, same: SameIdentity) -> None:
        """Rank for a block of queries; see `covtool.evaluation.retrieval.ranking.compared_blocks`.

        Args:
            queries: Rows of the queries, shape (B,).
            distances: What orders the gallery for them, shape (B, G), infinite where ignored.
            same: Images of the queries' identities.
        """
        # Half of the rows at a time: a camera's columns are copied, within the memory planned.
        for rows in torch.arange(len(queries)).split(max(1, len(queries) // 2)):
            for camera in range(len(self._columns)):
                self._add(camera, rows, queries, distances, same)

    def figures(self) -> CameraFigures:
        """Return the figures of all queries so far."""
        first = torch.stack([columns[0] for columns in self._columns])
        return CameraFigures(
            images=self._gallery_rows[first],
            average_precision=self._precisions,
            first_rank=self._ranks,
        )

    def _add(
        self, camera: int, rows: Tensor, queries: Tensor, distances: Tensor, same: SameIdentity
    ) -> None:
        positions = same.positions[rows]
        right = same.is_match[rows] & (self._camera_of[positions] == camera)
        there = right.any(1)
        if not there.any():
            return
        rows, positions, right = rows[there], positions[there], right[there]
        places = self._place[positions]
        # As in `SameIdentity.match_positions`: what is no match stands where one is.
        a_match = places.gather(1, right.int().argmax(1, keepdim=True))
        of_camera = distances[rows[:, None], self._columns[camera]]
        found = ranking_figures(ranks_of(of_camera, torch.where(right, places, a_match)), right)
        self._precisions[queries[rows], camera] = 100 * found.average_precision
        self._ranks[queries[rows], camera] = found.first_rank
