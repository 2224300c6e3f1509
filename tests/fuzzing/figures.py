"""What a run of the fuzzer found, as tables in plain text (which Markdown shows as tables)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fuzzing.running import CaseReport

MEBIBYTE = 1 << 20


@dataclass
class Figures:
    """Counts over cases, added up one by one.

    Attributes:
        cases, calls: How many there were.
        by_code: Calls by exit code.
        by_cause: Calls by what was broken.
        by_kind: Cases, and cases with something broken, by kind.
        longest: Seconds of the longest call, and which.
        largest: Bytes of the call that took most memory, and which.
        first: A case of each cause.
    """

    cases: int = 0
    calls: int = 0
    by_code: Counter = field(default_factory=Counter)
    by_cause: Counter = field(default_factory=Counter)
    by_kind: dict[str, list[int]] = field(default_factory=dict)
    longest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")
    first: dict[str, str] = field(default_factory=dict)

    def add(self, report: CaseReport) -> None:
        """Count a case."""
        self.cases += 1
        of_kind = self.by_kind.setdefault(report.kind, [0, 0])
        of_kind[0] += 1
        of_kind[1] += bool(report.broken)
        for call in report.calls:
            self.calls += 1
            self.by_code[str(call.code)] += 1
            self.by_cause.update(call.broken)
            self.longest = max(self.longest, (call.seconds, f"{report.name}: {call.words}"))
            self.largest = max(self.largest, (call.memory, f"{report.name}: {call.words}"))
            for cause in call.broken:
                self.first.setdefault(cause, report.name)

    def text(self, *, seconds: float | None = None) -> str:
        """All of it."""
        broken = sum(count for _, count in self.by_kind.values())
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.by_code.items()))
        lines = [
            f"- {self.cases:,} cases, {self.calls:,} calls, by exit code: {codes}",
            f"- cases with a failure: {broken:,}",
            f"- longest call: {self.longest[0]:.1f} s ({self.longest[1]})",
            f"- largest memory: {self.largest[0] / MEBIBYTE:,.0f} MiB ({self.largest[1]})",
        ]
        if seconds is not None:
            lines.append(f"- {seconds:,.0f} s in all, {self.cases / seconds:.1f} cases per second")
        kinds = [(kind, *counts) for kind, counts in self.by_kind.items()]
        causes = [(cause, count, self.first[cause]) for cause, count in self.by_cause.most_common()]
        return "\n".join((
            *lines, "", *_table(("kind", "cases", "with a failure"), kinds),
            "", *_table(("cause", "calls", "for example"), causes),
        ))  # fmt: skip


def _table(columns: tuple[str, ...], rows: Iterable[tuple]) -> list[str]:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return [
        "| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines
    ]
