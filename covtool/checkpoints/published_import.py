"""Choices when a published covariance network becomes a covtool file."""

from covtool.errors import ArgumentError
from covtool.specs import HeadSpec, as_flag
from covtool.variants import HEADS

_WITH_WEIGHTS = ("dim", "reduction", "tap", "vec", "hidden", "fuse", "thresh")
_SAME_LAYOUT = frozenset({"seb"} | {row.name for row in HEADS if row.is_root})


def imported_head(source: str, own: HeadSpec, asked: HeadSpec) -> HeadSpec:
    """Return the head to import: the file's own, or another meta-layer of the covariance.

    All roots, and the scaling eigen branch, take the same weights, and a file does not tell which
    of them it was trained with.

    Args:
        source: Origin of the model, for the message.
        own: The head as it was opened, with the iterations that were asked for.
        asked: Head that is asked for; all defaults stand for the file's own.

    Raises:
        ArgumentError: The weights were not trained with what is asked for.
    """
    fields = HeadSpec.model_fields
    changed = [n for n in fields if getattr(asked, n) != fields[n].default]
    if not set(changed) - {"iterations"}:
        return own
    other = [n for n in changed if n in _WITH_WEIGHTS and getattr(asked, n) != getattr(own, n)]
    # A batch norm behind the pooling would have weights, which the file has not.
    if asked.post_norm == "batchnorm":
        other.append("post_norm")
    if other:
        raise imported_as_it_is(source, ", ".join(map(as_flag, other)))
    HEADS[asked.head]  # an unknown name has an error of its own
    if asked.head != own.head and not {asked.head, own.head} <= _SAME_LAYOUT:
        raise imported_as_it_is(source, f"--head {asked.head}")
    return asked.model_copy(update={n: getattr(own, n) for n in _WITH_WEIGHTS})


def imported_as_it_is(source: str, leave_out: str) -> ArgumentError:
    """Return the refusal of what the weights were not trained with."""
    return ArgumentError(
        f"{source} has a covtool head already: it can be imported as it is.",
        reason="Its reduction and its classifier were trained with that head.",
        hint=f"Leave out {leave_out}; then fine-tune the file: --new-classifier for other "
        "classes, --head-schedule for another head.",
    )
