"""A check that options have an effect, for any table whose rows say what they take."""

from collections.abc import Iterable
from typing import Protocol

from covtool.errors import SurgeryError
from covtool.specs.record import Record, as_flag


class Row(Protocol):
    """A row of a table that takes some of an operation's options."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> frozenset[str]: ...


def changed_options(spec: Record) -> list[str]:
    """Return fields with another value than their default."""
    fields = type(spec).model_fields
    # pydantic calls the factory of a default only when asked to.
    return [
        n for n in fields if getattr(spec, n) != fields[n].get_default(call_default_factory=True)
    ]


def refuse_untaken(flag: str, row: Row, spec: Record, table: Iterable[Row]) -> None:
    """Refuse an option that a row does not take.

    Args:
        flag: Option that chooses the row, ``--head``.
        row: The row that was chosen.
        spec: The request.
        table: All rows.

    Raises:
        SurgeryError: It says which options the row takes, and which rows take the option.
    """
    fields = type(spec).model_fields.items()
    # Fields without a description are no options: covtool sets them itself.
    takes = [n for n, f in fields if n in row.options and f.description]
    for name in changed_options(spec):
        if name not in row.options:
            takers = [other.name for other in table if name in other.options]
            raise SurgeryError(
                f"{flag} {row.name} takes no {as_flag(name)}.",
                reason=f"It takes {', '.join(map(as_flag, takes))}.",
                hint=f"Leave it out, or choose a {flag} that takes it: {', '.join(takers)}.",
            )
