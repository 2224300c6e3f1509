"""A closed, ordered table of named variants."""

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from covtool.errors import UnknownVariantError


class Variant(Protocol):
    """What a row of a `Registry` must tell about itself."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def source(self) -> str: ...


V = TypeVar("V", bound=Variant)


class Registry(Generic[V]):
    """Looks a variant up by name; iterates in the order of declaration.

    Args:
        kind: Word for a row, in the singular, for error messages.
        variants: The rows. Names must differ.

    Raises:
        UnknownVariantError: (on lookup) there is no row of that name.
    """

    def __init__(self, kind: str, variants: Sequence[V]) -> None:
        self.kind = kind
        self._by_name = {variant.name: variant for variant in variants}
        # The second of two rows would hide the first.
        if len(self._by_name) != len(variants):
            raise ValueError(f"Two rows of the {kind} table share a name.")

    def __getitem__(self, name: str) -> V:
        try:
            return self._by_name[name]
        except KeyError:
            # From None: the KeyError says nothing more.
            raise UnknownVariantError(self.kind, name, self.names) from None

    def __iter__(self) -> Iterator[V]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all rows, in order."""
        return tuple(self._by_name)
