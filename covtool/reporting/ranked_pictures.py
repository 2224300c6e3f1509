"""Pictures of queries, each with the first images of its ranking."""

from collections.abc import Sequence

from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.pages import Picture, PictureGroup
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.retrieval_subject import RetrievalSubject


class RankedPictures:
    """Queries with pictures of their first images; each file is read once.

    Args:
        subject: The search, with the first images of its rankings.
        rows: Queries that are shown.
        most: Images of a ranking that are shown, at most.
    """

    def __init__(self, subject: RetrievalSubject, rows: Sequence[int], *, most: int = 100) -> None:
        self._done, self._most = subject.done, most
        layout = self._done.layout
        files = [layout.query[row].path for row in rows]
        files += [sample.path for row in rows for sample in self._found(row)]
        input = self._done.input
        self._pictures = ImagePictures(files, exif=input is None or input.exif)

    def group(self, row: int, *, title: str = "") -> PictureGroup:
        """Return a query and the first images of its ranking, below its identity or a title."""
        query, result = self._done.layout.query[row], self._done.result
        first = result.first_ranks[row]
        found = [
            self._picture(
                sample, str(rank), mark="right" if sample.identity == query.identity else "wrong"
            )
            for rank, sample in enumerate(self._found(row), start=1)
        ]
        return PictureGroup(
            pictures=[self._picture(query, "query"), *found],
            title=title or query.identity,
            lines=[f"AP {result.average_precisions[row]:.1f} %, first match at rank {first:,}"],
        )

    def _found(self, row: int) -> list[RetrievalSample]:
        gallery = self._done.layout.gallery
        first = self._done.result.matches[row].tolist()[: self._most]
        return [gallery[at] for at in first if at >= 0]

    def _picture(self, sample: RetrievalSample, place: str, *, mark: str = "") -> Picture:
        camera = [] if sample.camera is None else [f"camera {sample.camera}"]
        return self._pictures.of(sample.path, [place, sample.identity, *camera], mark=mark)
