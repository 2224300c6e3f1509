"""Images of classes that a model does not know, as a user names them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covtool.data.datasets.checking import OnBadImage, check_images
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.full_paths import in_full
from covtool.printable import first_few, printable
from covtool.processes import Processes
from covtool.progress import Track

NO_NEIGHBORS = (
    "The file keeps no training embeddings: the distance to them is not measured. covtool convert "
    "--calibrate DIR --keep-neighbors and covtool finetune --keep-neighbors keep them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownImages:
    """Images of other classes.

    Attributes:
        root: Folder, list or image that was given.
        samples: The images; their labels say nothing.
        class_names: Names of their classes, as far as they have any.
        found: Notes on what was read and what was left out.
        bad: File and reason of images that cannot be read.
    """

    root: Path
    samples: Sequence[Sample]
    class_names: tuple[str, ...]
    found: tuple[str, ...]
    bad: tuple[tuple[Path, str], ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder or the file."""
        return in_full(self.root).name

    def checked(
        self,
        known: Sequence[str] | None,
        on_bad_image: OnBadImage,
        processes: Processes,
        track: Track,
    ) -> "UnknownImages":
        """Return those that can be read, once it is sure that they are of other classes.

        Args:
            known: Names of the model's classes; None where it has none.
            on_bad_image: Whether unreadable images are an error, or left out.
            processes: Processes that check a part of them each.
            track: Display of the progress.

        Raises:
            DataError: A class has the name of one of the model's, or an image cannot be read.
        """
        require_unknown(self.class_names, known, str(self.root))
        checked = check_images(
            self.samples, on_bad_image=on_bad_image, track=track, processes=processes
        )
        return replace(self, samples=checked.good, bad=checked.bad)

    def notes(self, *, has_neighbors: bool) -> Iterator[str]:
        """Yield notes on the images, and on what is not measured of them."""
        yield from self.found
        if not self.class_names:
            yield (
                f"The images of {printable(str(self.root))} have no labels: that none is of a "
                "class that the model knows, is taken on trust."
            )
        if not has_neighbors:
            yield NO_NEIGHBORS


def find_unknown(root: Path) -> UnknownImages:
    """Find images of other classes.

    Args:
        root: A folder, with class folders or without, a list, or an image; see `find_images`.

    Raises:
        DataError: There is nothing, or there are no images.
    """
    source = find_images(root)
    images = [sample for samples in source.splits.values() for sample in samples]
    return UnknownImages(
        root=root,
        samples=tuple(Sample(image.path, 0) for image in images),
        class_names=tuple(sorted({image.identity for image in images if image.identity})),
        found=source.notes,
    )


def require_unknown(found: Sequence[str], known: Sequence[str] | None, path: str) -> None:
    """Refuse images of classes that the model knows, as far as their folders' names tell.

    Args:
        found: Names of the unknown images' classes; empty where they have none.
        known: Names of the model's classes; None where it has none.
        path: Path of the images, for the message.

    Raises:
        DataError: A name is among the model's.
    """
    names = {name.casefold() for name in known or ()}
    both = sorted({name for name in found if name and name.casefold() in names})
    if both:
        raise DataError(
            f"{path} has images of classes that the model knows: "
            f"{first_few(both, 5, show=printable)}.",
            reason="The score of an unknown image is compared with that of a known one.",
            hint="Give images of other classes alone with --unknown.",
        )
