"""Names of architectures, looked up without the libraries that build them.

timm takes seconds to say that it has no model of a name. What it and torchvision know is therefore
shipped, and used where exactly those versions are installed; see `shipped_names`.
"""

import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Protocol

from covtool.errors import UnknownVariantError

TORCHVISION_PREFIX = "torchvision:"
HUB_PREFIX = "hf-hub:"

SHIPPED = Path(__file__).with_name("names.xz")
LIBRARIES = ("timm", "torchvision")


class KnownNames(Protocol):
    """Names that can be built and trained, as two libraries know them."""

    def timm(self) -> Sequence[str]:
        """Return timm's architectures, in its order, without names that it has given up."""

    def torchvision(self) -> Sequence[str]:
        """Return torchvision's classification models."""

    def is_timm(self, name: str) -> bool:
        """Return whether timm builds an architecture of that name, given up or not."""

    def has_tag(self, name: str, tag: str) -> bool:
        """Return whether timm takes a pretrained tag of an architecture."""

    def tags(self, name: str) -> Sequence[str]:
        """Return the tags of an architecture that have weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedNames:
    """The names of certain versions of the libraries; see `KnownNames`.

    Attributes:
        versions: Versions by library.
        listed: timm's architectures, in its order.
        tagged: By each name that timm builds, the tags that it takes, of which those with weights
            come first, and the number of these; None where it takes any.
        of_torchvision: torchvision's classification models.
        optimizers: timm's optimizers.
    """

    versions: Mapping[str, str]
    listed: Sequence[str]
    tagged: Mapping[str, tuple[Sequence[str], int] | None]
    of_torchvision: Sequence[str]
    optimizers: Sequence[str]

    def timm(self) -> Sequence[str]:
        return self.listed

    def torchvision(self) -> Sequence[str]:
        return self.of_torchvision

    def is_timm(self, name: str) -> bool:
        return name in self.tagged

    def has_tag(self, name: str, tag: str) -> bool:
        tags = self.tagged[name]
        return tags is None or tag in tags[0]

    def tags(self, name: str) -> Sequence[str]:
        tags = self.tagged[name]
        return () if tags is None else tags[0][: tags[1]]


def parts_of(name: str, known: KnownNames) -> tuple[str, str, str | None]:
    """Return library, architecture and pretrained tag of a name.

    Args:
        name: ``resnet50.a1_in1k``, ``torchvision:resnet50``.
        known: Names that there are.

    Raises:
        UnknownVariantError: Neither library has it; near names are suggested.
    """
    if name.startswith(TORCHVISION_PREFIX):
        short = name.removeprefix(TORCHVISION_PREFIX)
        if short not in known.torchvision():
            kind = "torchvision classification model"
            raise UnknownVariantError(kind, short, known.torchvision())
        return "torchvision", short, None
    short, _, tag = name.partition(".")
    if not known.is_timm(short):
        raise UnknownVariantError("architecture", name, near_names(short, known))
    if tag and not known.has_tag(short, tag):
        raise UnknownVariantError(f"pretrained tag of {short}", tag, known.tags(short))
    return "timm", short, tag or None


def near_names(name: str, known: KnownNames) -> tuple[str, ...]:
    """Return timm's architectures that are called alike, or where to look for them."""
    near = get_close_matches(name, known.timm(), n=8, cutoff=0.5)
    return tuple(near) or ("see timm.list_models()",)


@cache
def shipped_names() -> ShippedNames | None:
    """Return the shipped names; None where other versions of the libraries are installed."""
    return matching(read_names(SHIPPED), installed_versions())


def matching(names: ShippedNames, versions: Mapping[str, str]) -> ShippedNames | None:
    """Return names if they are those of certain versions, else None.

    Another version may know names that these lack: they would be refused by mistake.
    """
    return names if names.versions == versions else None


def installed_versions() -> dict[str, str]:
    """Return versions of the libraries that are installed, without importing them."""
    found = {}
    for library in LIBRARIES:
        try:
            # Without the build, as in +cpu: it does not change what an architecture is.
            found[library] = metadata.version(library).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def write_names(names: ShippedNames, path: Path) -> None:
    """Write names for `read_names`."""
    content = [names.versions, names.listed, names.tagged, names.of_torchvision, names.optimizers]
    text = json.dumps(content, separators=(",", ":")).encode()
    path.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def read_names(path: Path) -> ShippedNames:
    """Return what `write_names` wrote."""
    versions, listed, tagged, of_torchvision, optimizers = json.loads(
        lzma.decompress(path.read_bytes())
    )
    return ShippedNames(
        versions=versions,
        listed=listed,
        tagged=tagged,
        of_torchvision=of_torchvision,
        optimizers=optimizers,
    )
