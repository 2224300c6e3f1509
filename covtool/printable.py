"""Text from files, made fit for a terminal. Whatever shows such text passes it through here."""

_LONGEST = 200


def printable(text: str, *, longest: int = _LONGEST) -> str:
    r"""Text with control characters and the like escaped, and cut to a length.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    shown = escaped(text[:longest])
    return shown + ("..." if len(text) > longest else "")


def escaped(text: str, *, keep: str = "") -> str:
    r"""Text with every character escaped that is not printable, lone surrogates among them.

    Args:
        text: Any text.
        keep: Characters that are left as they are, the end of a line for example.

    Example:
        >>> print(escaped("one\ntwo\x07", keep="\n"))
        one
        two\x07
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
