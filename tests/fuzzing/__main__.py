"""Run the fuzzer: `python -m fuzzing --cases 10000 --jobs 2 --out DIR`.

A run that was ended goes on where it was, given the same folder and seed.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path


def main() -> int:
    asked = _arguments()
    _surroundings(asked.out)
    from fuzzing.case import Case
    from fuzzing.children import run_cases
    from fuzzing.figures import Figures
    from fuzzing.kinds import BY_NAME

    names = [name for name in asked.kind or BY_NAME if BY_NAME[name].is_readable]
    kinds = [_of_targets(BY_NAME[name], asked.target) for name in names]
    if not _seeds_are_read(kinds, asked.out):
        return 1
    if asked.only:
        return _show(asked, kinds)
    figures, done, start = Figures(), _done(asked.out, asked.seed), time.monotonic()
    for report in done.values():
        figures.add(report)
    per_kind = -(-asked.cases // len(kinds))
    every = (Case(kind, asked.seed, n) for n in range(per_kind) for kind in kinds)
    cases: Iterator[Case] = (case for case in every if case.name not in done)
    journal = asked.out / f"cases-{asked.seed}.jsonl"
    with journal.open("a") as lines:
        for report, folder in run_cases(
            cases, asked.out / "seeds", asked.out / "work", jobs=asked.jobs
        ):
            figures.add(report)
            lines.write(json.dumps(report.plain()) + "\n")
            lines.flush()
            if report.broken:
                _keep(report, folder, asked.out / "failures" / report.name)
                print(f"{report.name}: {'; '.join(dict.fromkeys(report.broken))}", flush=True)
            elif figures.cases % 100 == 0:
                print(f"{figures.cases:,} cases, {time.monotonic() - start:,.0f} s", flush=True)
    new = figures.cases - len(done)
    text = figures.text(seconds=time.monotonic() - start if new == figures.cases else None)
    (asked.out / f"figures-{asked.seed}.md").write_text(text + "\n")
    print(text)
    return 1 if figures.by_cause else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all, shared by the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="only this one; may be repeated")
    parser.add_argument("--target", help="only files whose name has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("fuzzing"), help="where failures are kept")
    parser.add_argument("--only", help="run one case, by its name, and show all that it says")
    asked = parser.parse_args()
    asked.out = asked.out.resolve()  # as the audit hook sees it, wherever a call runs
    return asked


def _surroundings(out: Path) -> None:
    """What must be set before torch and matplotlib are imported."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", COLUMNS="160")
    import torch

    torch.set_num_threads(1)


def _of_targets(kind, part: str | None):
    targets = {name: rows for name, rows in kind.targets.items() if not part or part in name}
    return replace(kind, targets=targets or kind.targets)


def _seeds_are_read(kinds: list, out: Path) -> bool:
    """Whether every call keeps the promise with whole files, and succeeds."""
    from fuzzing.running import make_seeds, read_whole

    fine = True
    for kind in kinds:
        make_seeds(kind, out / "seeds")
        for report in read_whole(kind, out / "seeds", out / "work" / "whole"):
            if report.code != kind.whole_code or report.broken:
                fine = False
                print(f"{kind.name}, whole: {report.words}: {report.code} {report.broken}")
                print(report.err, report.details, file=sys.stderr)
    return fine


def _done(out: Path, seed: int) -> dict:
    """Reports of the cases that ran before."""
    from fuzzing.children import _read

    journal = out / f"cases-{seed}.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    reports = [_read(json.loads(line)) for line in lines if line.endswith("}")]
    return {report.name: report for report in reports}


def _keep(report, folder: Path, place: Path) -> None:
    """The damaged file, how it came about, and what was said."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps(report.plain(), indent=1))
    damaged = folder / "case" / report.target
    if damaged.is_file():
        shutil.copy(damaged, place / damaged.name)


def _show(asked: argparse.Namespace, kinds: list) -> int:
    """One case in this process, with all that it says; its files stay."""
    from fuzzing.case import Case
    from fuzzing.running import run_case

    name, seed, number = asked.only.rsplit("-", 2)
    kind = next(kind for kind in kinds if kind.name == name)
    folder = asked.out / "only"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    report = run_case(Case(kind, int(seed), int(number)), asked.out / "seeds", folder)
    print(f"{report.target}, changed by {', '.join(report.mutators)}; the files are in {folder}")
    for call in report.calls:
        print(
            f"\n$ covtool {call.words}\n{call.err}{call.details}"
            f"exit code {call.code}: {call.broken}"
        )
    return bool(report.broken)


if __name__ == "__main__":
    sys.exit(main())
