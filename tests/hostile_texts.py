"""Text that a file may hold and that must not act on a terminal, by what it would do."""

HOSTILE = {
    "clears the screen": "a\x1b[2Jb",
    "sets the title": "a\x1b]0;owned\x07b",
    "of one byte": "a\x9b31mb",
    "goes back": "good\rbad\b\b\b",
    "starts a line": "a\nerror: forged",
    "separates lines": "a\u2028b\u2029c\x85d",
    "ends a string": "a\x00b",
    "deletes": "a\x7fb",
    "turns around": "a\u202egnp.exe",
    "isolates": "a\u2066b\u2069c\u200f",
    "has no width": "a\u200bb\u2060c\ufeffd\u00ade",
    "shows nothing": "a\u3164b\u115fc\u2800d",
    "floods": "a" + "\u0301" * 5000,
    "is half a character": "a\udc9b31mb\ud800",
    "is markup": "[bold red]a[/bold red]",
    "closes what is not open": "a[/]b[/red]",
    "is a link": "[link=file:///etc/passwd]a[/link]",
    "is long": "x" * 20_000,
    "is long and escaped": "\U000e0001" * 20_000,
}


def acts_on_a_terminal(text):
    """Whether there is anything in a text but what is seen, and ends of lines."""
    return any(not c.isprintable() and c != "\n" for c in text) or "\u0301" * 5 in text
