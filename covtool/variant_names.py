"""Names of heads, operators and their parts, for what cannot wait until tables have loaded torch.

The tables are those of `covtool.variants` and `covtool.ops`; tests compare the names with them.
"""

from collections.abc import Mapping, Sequence

from covtool.errors import UnknownVariantError

HEADS = (
    *("gap", "gmp", "gem", "cov", "isqrt", "mpn", "mpn+F", "mpn+M", "logm", "mtp", "mpa", "seb"),
    *("bilinear", "cbp", "gaussian", "dropcov"),
)
MAGNITUDES = ("sphere", "ball", "tanh", "linear", "segmented", "log", "mixed")
CONVOLUTIONS = (*MAGNITUDES, "weight-standardized")
ANGULAR_ACTIVATIONS = ("linear", "cosine", "sigmoid", "square-cosine")
GRADIENTS = (
    *("exact", "svd", "truncated", "top-n", "taylor", "pade", "power-iteration", "newton-schulz"),
)

KINDS: Mapping[str, Sequence[str]] = {
    "head": HEADS,
    "gradient rule": GRADIENTS,
    "operator": CONVOLUTIONS,
    "angular activation": ANGULAR_ACTIVATIONS,
}
"""Names by the tables' words for a row."""


def require_variant(kind: str, name: str) -> None:
    """Refuse a name that is in no row of a table, as the table does.

    Args:
        kind: Word for a row: a key of `KINDS`.
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
