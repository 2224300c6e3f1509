"""The request of a comparison."""

from dataclasses import dataclass, field
from pathlib import Path

from covtool.data.datasets.checking import OnBadImage
from covtool.specs import LayoutSpec, ModelSource
from covtool.specs.comparing import CompareSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Models, heads and data to compare.

    Attributes:
        sources: Models, or their names alone.
        data: Data set whose training images say how good a head is.
        img_sizes: Heights and widths of the images, in pixels; empty for each model's own.
        spec: Heads, taps and bounds.
        layout: Choices in reading the data set.
        work: Folder that keeps feature maps, from which an interrupted comparison goes on; None
            for a temporary one, where maps do not fit into memory.
        batch_size: Images per batch.
        workers: Processes that load them.
        device: Device to compute on: ``auto``, ``cpu``, ``cuda``.
        on_bad_image: ``error`` or ``skip``.
    """

    sources: tuple[ModelSource, ...]
    data: Path
    img_sizes: tuple[tuple[int, int], ...] = ()
    spec: CompareSpec = field(default_factory=CompareSpec)
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    work: Path | None = None
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    on_bad_image: OnBadImage = "error"

    def __post_init__(self) -> None:
        # Names alone become sources here; the record is frozen.
        object.__setattr__(self, "sources", tuple(map(ModelSource.of, self.sources)))
        object.__setattr__(self, "data", Path(self.data))
