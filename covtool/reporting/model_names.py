"""Names of two models for a page."""

from pathlib import Path


def distinct_names(first: str, second: str) -> tuple[str, str]:
    """Return the ends of two paths, from the last folder on in which they differ.

    Example:
        >>> distinct_names("runs/a/exported/best.safetensors", "runs/b/exported/best.safetensors")
        ('a/exported/best.safetensors', 'b/exported/best.safetensors')
        >>> distinct_names("models/gap.safetensors", "models/isqrt.safetensors")
        ('gap.safetensors', 'isqrt.safetensors')
    """
    own, other = Path(first).parts, Path(second).parts
    for length in range(1, max(len(own), len(other))):
        if own[-length:] != other[-length:]:
            return str(Path(*own[-length:])), str(Path(*other[-length:]))
    return first, second
