"""Text from files, made fit for a terminal."""

_LONGEST = 200


def printable(text: str, *, longest: int = _LONGEST) -> str:
    r"""Text with control characters and the like escaped, and cut to a length.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    shown = text[:longest]
    cut = "..." if len(text) > longest else ""
    if shown.isprintable():
        return shown + cut
    return "".join(c if c.isprintable() else _escaped(c) for c in shown) + cut


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
