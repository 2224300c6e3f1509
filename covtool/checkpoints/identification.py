"""The architectures that a checkpoint may be of, as a result."""

from dataclasses import dataclass

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.matching import Candidate, Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """The architectures that a checkpoint may be of.

    Attributes:
        checkpoint: Checkpoint without the prefix, as it was matched.
        candidates: Best first. All are equally good where `match` is ``names`` or ``order``.
        match: Kind of the match; None where nothing matches.
    """

    checkpoint: ForeignCheckpoint
    candidates: tuple[Candidate, ...]
    match: Match | None

    @property
    def is_certain(self) -> bool:
        """Whether the tensors fit the candidates, so that they can be loaded."""
        return self.match in ("names", "order")

    @property
    def best(self) -> Candidate | None:
        """The candidate that is taken unless the user names another."""
        return self.candidates[0] if self.candidates else None

    @property
    def num_classes(self) -> int | None:
        """Outputs of the checkpoint's classifier; None without one, or where it is unknown."""
        return self.best.num_classes if self.best else None

    @property
    def in_channels(self) -> int | None:
        """Input channels of the first convolution."""
        return self.best.in_channels if self.best else None

    @property
    def classifier(self) -> str | None:
        """The classifier's module in the architecture."""
        names = self.best.architecture.classifiers if self.best else ()
        return ", ".join(names) or None
