"""Values that programs tend not to foresee, shared by every mutator that knows a structure."""

from random import Random
from typing import Any

INTEGERS = (
    0, 1, -1, 2, 3, 7, 63, 64, 65, 127, 128, 255, 256, 257, 1000, 32767, 65535, 65536,
    10**5, 10**6, 10**9, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40, 2**60, 2**62, 2**63 - 1, 2**63,
    -(2**63), 2**64, 10**30, -(10**30),
)  # fmt: skip

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m"

TEXTS = (
    "", " ", "a", "0", "-1", "1e999", "nan", "inf", "null", "true", "None", "..", ".", "/", "~",
    "../../etc/passwd", "/etc/passwd", "/dev/zero", "file:///etc/passwd",
    "http://127.0.0.1:9/x", "https://evil.example/x.pth", "hf-hub:evil/x", "hf_hub:evil/x",
    "local-dir:/etc", "torchvision:resnet18", "resnet50.a1_in1k", "fcn_resnet50", "test_resnet",
    ESCAPES, "\n", "a\nb: c", "\r", "\x00", "a\x00b", "\x7f", "\u202e", "\ud800", "\ufffe",
    "[red]x[/red]", "[/]", "[link=https://evil.example]x[/link]", "%s%n", "{}", "{0}", "${HOME}",
    "🙂" * 50, "a" * 300, "a" * 100_000, "a." * 5000, "é", "\u00a0",
)  # fmt: skip

FLOATS = (
    0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip


def number(random: Random) -> int:
    """An interesting whole number, or one beside it."""
    return random.choice(INTEGERS) + random.choice((0, 0, 0, 1, -1))


def text(random: Random) -> str:
    """An interesting text."""
    return random.choice(TEXTS)


def plain_value(random: Random, *, depth: int = 2) -> Any:
    """A value of any type that JSON has."""
    kind = random.randrange(9 if depth else 6)
    if kind < 2:
        return number(random)
    if kind < 4:
        return text(random)
    if kind == 4:
        return random.choice(FLOATS)
    if kind == 5:
        return random.choice((None, True, False))
    count = random.choice((0, 1, 2, 3, 17))
    if kind == 6:
        return {text(random)[:100]: plain_value(random, depth=depth - 1) for _ in range(count)}
    if kind == 7:
        return [plain_value(random, depth=depth - 1) for _ in range(count)]
    return random.choice(([0] * 10_000, [[]] * 1000, {str(n): n for n in range(5000)}))
