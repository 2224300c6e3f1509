"""Names of heads and operators, for what cannot wait until their tables have loaded torch.

The tables are `covtool.variants.HEADS` and `covtool.variants.CONVOLUTIONS`; tests compare the names
with them.
"""

from collections.abc import Mapping, Sequence

from covtool.errors import UnknownVariantError

HEADS = (
    *("gap", "gmp", "gem", "cov", "isqrt", "mpn", "mpn+F", "mpn+M", "logm", "mtp", "mpa", "seb"),
    *("bilinear", "cbp", "gaussian", "dropcov"),
)
MAGNITUDES = ("sphere", "ball", "tanh", "linear", "segmented", "log", "mixed")
CONVOLUTIONS = (*MAGNITUDES, "weight-standardized")

KINDS: Mapping[str, Sequence[str]] = {"head": HEADS, "operator": CONVOLUTIONS}
"""Names by the tables' words for a row."""


def require_variant(kind: str, name: str) -> None:
    """Refuse a name that is in no row of a table, as the table does.

    Args:
        kind: Word for a row: ``head`` or ``operator``.
        name: Name.

    Raises:
        UnknownVariantError: There is no such row.

    Example:
        >>> require_variant("head", "isqrt")
    """
    if name not in KINDS[kind]:
        raise UnknownVariantError(kind, name, KINDS[kind])


def require_optimizer(name: str, known: Sequence[str]) -> None:
    """Refuse an optimizer that timm does not have.

    Args:
        name: Name, perhaps with a prefix, as in ``lookahead_adam``: what follows it is looked up.
        known: Names that timm has.

    Raises:
        UnknownVariantError: It has no such optimizer.
    """
    if name.lower().rpartition("_")[2] not in known:
        raise UnknownVariantError("optimizer", name, known)
