"""A run with several seeds and on several folds: all started, or gone on with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from covtool.data.datasets.class_findings import notes_on_classes
from covtool.data.datasets.duplicates import notes_on_equal_folds
from covtool.data.datasets.folding import FoldedData, read_folds
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.errors import ArgumentError, CovtoolError, DataError, NonFiniteError
from covtool.processes import Processes, joined
from covtool.progress import Track
from covtool.run_files import ARGUMENTS, FOLDS, PREDICTIONS, REPEATS, RESULT, read_settings
from covtool.run_files.places import require_run_place
from covtool.specs import FinetuneRequest
from covtool.specs.optimization import AUTO
from covtool.training.repeats.directory import RepeatsDirectory
from covtool.training.repeats.outcome import (
    RepeatsResult,
    differ_in_images,
    finals_of,
    write_outcome,
    write_summary,
)
from covtool.training.repeats.plan import Repeat, name_of, plan_repeats, request_of
from covtool.training.repeats.predictions import write_predictions
from covtool.training.repeats.said_once import SaidOnce
from covtool.training.repeats.searches import write_searches
from covtool.training.run.directory import RunDirectory, directory_at
from covtool.training.run.kept_notes import KeptNotes
from covtool.training.run.logs import earlier_notes
from covtool.training.run.observer import Observer, SilentObserver, observer_for
from covtool.training.start.data_notes import DataNotes
from covtool.training.start.finetune import (
    DryRunResult,
    Images,
    plan_finetune,
    train_from_start,
)
from covtool.training.start.prepare import cut_into_folds, require_judgeable, resolve_defaults
from covtool.training.start.resume import (
    MAY_CHANGE,
    continued_request,
    resume_run,
    waiting_s,
)

LENGTH = ("epochs", "patience", "keep_neighbors", "rri", "stop_delta")
"""Settings that may change, with which a run that is complete has more to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _All:
    """Several runs that are under way."""

    directory: RepeatsDirectory
    request: FinetuneRequest
    folded: FoldedData | None
    observer: Observer
    processes: Processes
    kept: KeptNotes
    data_notes: DataNotes

    def images(self, repeat: Repeat, request: FinetuneRequest) -> Images | None:
        """Return the images of a run; None for what the data set holds."""
        if self.folded is None:
            return None
        return require_judgeable(self.folded.part(repeat.fold), request, self.observer), None


def repeat_finetune(request: FinetuneRequest, *, observer: Observer | None = None) -> RepeatsResult:
    """Train a model several times, with other seeds and on other folds of its images.

    Each run is one of `finetune` in a folder of its own, and does what it would do alone. One that
    diverges does not keep the others from being trained; in the end an error names it.

    Args:
        request: Model, data and every setting; `repeats` says how often.
        observer: Observer of all runs, in the first process.

    Raises:
        NonFiniteError: Runs have diverged; the others are complete.
        CovtoolError: As `finetune`.
    """
    with joined(timeout_s=request.processes.dist_timeout) as processes:
        kept = KeptNotes(observer_for(observer, processes), several=True)
        observer = SaidOnce(kept)
        request = resolve_defaults(request, processes)
        repeats = plan_repeats(request)
        wanted = Path(request.output), request.command, request.experiment
        processes.main(lambda: require_run_place(*wanted))
        folded, data_notes = None, DataNotes()
        if request.repeats.folds is not None:
            folded, data_notes = _cut(request, repeats, observer, processes)
        create = RepeatsDirectory.create
        path = processes.main(lambda: create(*wanted[:2], name_of(request)).path)
        runs = _All(
            directory=RepeatsDirectory(path),
            request=request,
            folded=folded,
            observer=observer,
            processes=processes,
            kept=kept,
            data_notes=data_notes,
        )
        try:
            processes.main(lambda: runs.directory.describe(request.to_arguments(), folded))
            runs = _as_recorded(runs)
            return _all(runs, repeats)
        except BaseException:
            if processes.is_main:  # as alone, nothing is left of what did not begin
                runs.directory.discard_empty()
            raise


def resume_repeats(
    directory: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> RepeatsResult:
    """Go on with several runs: complete ones stay, others go on from their states or are started.

    Args:
        directory: Folder of the runs.
        changes: Arguments that are given again, by option name. Those in
            `covtool.training.start.resume.MAY_CHANGE` may differ, and there may be more seeds.
        observer: Observer of all runs.

    Raises:
        ArgumentError: There are no such runs, they are under way, or an argument differs.
        NonFiniteError: Runs have diverged; the others are complete.
        CovtoolError: As `resume_finetune`.
    """
    changes = dict(changes or {})
    with joined(timeout_s=waiting_s(Path(directory) / REPEATS, changes)) as processes:
        saved = processes.main(lambda: RepeatsDirectory.open(directory).read_arguments())
        earlier = processes.main(lambda: earlier_notes(Path(directory)))
        kept = KeptNotes(observer_for(observer, processes), earlier, several=True)
        observer = SaidOnce(kept)
        saved = _with_seeds(saved, changes.pop("seeds", None), observer)
        request, notes = continued_request(saved, changes, processes)
        for note in notes:
            observer.on_note(note)
        runs = _All(
            directory=RepeatsDirectory(Path(directory)),
            request=request,
            folded=None,
            observer=observer,
            processes=processes,
            kept=kept,
            data_notes=DataNotes(),
        )
        return _all(_as_recorded(runs), plan_repeats(request), arguments=request.to_arguments())


def plan_first(request: FinetuneRequest, *, observer: Observer | None = None) -> DryRunResult:
    """Build the first of several runs, and do what `plan_finetune` does.

    Raises:
        CovtoolError: As `plan_finetune`.
    """
    first = plan_repeats(request)[0]
    return plan_finetune(request_of(first, request, name_of(request)), observer=observer)


def _cut(
    request: FinetuneRequest, repeats: Sequence[Repeat], observer: Observer, processes: Processes
) -> tuple[FoldedData, DataNotes]:
    """Return the folds of a data set, once each is known to be of use, and the notes on it."""
    folded = cut_into_folds(request)
    data_notes = DataNotes(partial(_notes_on_folds, folded))
    data_notes.give(folded.whole, observer, processes)  # once, not for each fold
    folded = replace(folded, whole=replace(folded.whole, notes=()))
    for repeat in repeats:
        require_judgeable(folded.part(repeat.fold), request, SilentObserver())
    return folded, data_notes


def _notes_on_folds(
    folded: FoldedData, _: DataLayout, processes: Processes, track: Track
) -> Iterator[str]:
    """Yield the notes on a data set that is cut into folds, of which each run has a part."""
    yield from folded.whole.notes
    if not isinstance(folded.whole, RetrievalLayout):
        yield from notes_on_classes(folded.whole)
        compare = partial(notes_on_equal_folds, folded.whole, folded.numbers)
        yield from processes.main(partial(compare, track=track))


def _as_recorded(runs: _All) -> _All:
    """Return the runs with the folds that were written when they were started.

    Raises:
        DataError: The list is damaged; or the images are no files, and are others now.
    """
    folds, processes = runs.request.repeats.folds, runs.processes
    if folds is None:
        return runs
    file, root = runs.directory.path / FOLDS, Path(runs.request.data)
    recorded = processes.main(lambda: read_folds(file, root, folds))
    if recorded is None:  # images that only the data set itself can give
        recorded = runs.folded or cut_into_folds(runs.request)
        if not processes.main(lambda: recorded.is_in(file)):
            raise DataError(
                f"{root} does not hold the images that the folds in {file} are of.",
                hint="Bring them back as they were, or start new runs.",
            )
    # Notes from reading the data set were given when the runs were started.
    folded = replace(recorded, whole=replace(recorded.whole, notes=()))
    is_resumed = runs.folded is None
    notes = DataNotes(partial(_notes_on_folds, folded)) if is_resumed else runs.data_notes
    return replace(runs, folded=folded, data_notes=notes)


def _with_seeds(saved: dict[str, Any], seeds: int | None, observer: Observer) -> dict[str, Any]:
    """Return the settings of several runs with more seeds than they were started with."""
    before = saved.get("seeds")
    if seeds in (None, before):
        return saved
    if before is None or seeds < before:
        raise ArgumentError(
            f"--seeds is {seeds} now, but the runs were started with {before or 'one seed'}.",
            hint="Leave it out, ask for more seeds, or start new runs.",
        )
    observer.on_note(f"--seeds changes from {before} to {seeds}.")
    return {**saved, "seeds": seeds}


def _all(
    runs: _All, repeats: Sequence[Repeat], *, arguments: dict[str, Any] | None = None
) -> RepeatsResult:
    """Bring all runs to their ends.

    Args:
        runs: The runs.
        repeats: What they are.
        arguments: Their settings, where those may have changed.
    """
    with runs.directory.in_use() if runs.processes.is_main else nullcontext():
        return _each(runs, repeats, arguments)


def _each(runs: _All, repeats: Sequence[Repeat], arguments: dict[str, Any] | None) -> RepeatsResult:
    main, directory = runs.processes.main, runs.directory
    if arguments is not None:
        main(lambda: directory.write_arguments(arguments))
    main(directory.cut_notes)
    if runs.processes.is_main:
        runs.kept.write_to(directory.append_note)
    diverged: list[tuple[Repeat, str]] = []
    for number, repeat in enumerate(repeats, start=1):
        if main(lambda repeat=repeat: _is_complete(runs, repeat)):
            continue
        main(directory.forget_outcome)
        runs.kept.announce(f"Run {number} of {len(repeats)}: {repeat.name}.")
        try:
            _one(runs, repeat)
        except NonFiniteError as problem:
            # The others are as good as they would be without it, and took as long.
            diverged.append((repeat, problem.message))
            runs.observer.on_note(f"{repeat.name} has diverged: {problem.message}")
        except CovtoolError as problem:
            raise _of_all(problem, runs, repeat) from problem
    if diverged:
        names = {repeat.name for repeat, _ in diverged}
        whole = [repeat for repeat in repeats if repeat.name not in names]
        if whole:
            main(lambda: write_summary(directory, whole))
        raise _diverged(runs, diverged, len(repeats))
    if runs.request.training.val_fraction is None and main(
        lambda: differ_in_images(finals_of(directory, repeats))
    ):
        runs.observer.on_note(
            "The runs were not all started with the same images: the data set has changed between "
            "them, and the deviations are of that as well."
        )
    return main(lambda: write_outcome(directory, repeats, runs.kept.notes))


def _one(runs: _All, repeat: Repeat) -> None:
    """Start a run, or go on with it; then write what its model takes its fold for."""
    directory, processes = runs.directory, runs.processes
    path = directory.run(repeat.name)
    request = request_of(repeat, runs.request, directory.path.name)
    images = runs.images(repeat, request)
    if processes.main(lambda: directory.is_started(repeat.name)):
        processes.main(lambda: _forget_outcome(path))
        changes = processes.main(lambda: _changes(path, request))
        resume_run(path, changes, processes, runs.observer, images=images)
    else:
        request = _with_rate_of_fold(runs, repeat, request)
        processes.main(lambda: directory.make_run(repeat.name))
        try:
            train_from_start(
                request,
                directory_at(path, processes),
                runs.observer,
                processes,
                images=images,
                data_notes=_data_notes(runs),
            )
        finally:
            if processes.is_main:
                directory.discard_unstarted(repeat.name)
    if runs.folded is not None:
        write = write_searches if runs.folded.is_searched else write_predictions
        write(RunDirectory(path), request, images[0], runs.observer, processes)


def _with_rate_of_fold(runs: _All, repeat: Repeat, request: FinetuneRequest) -> FinetuneRequest:
    """Return settings with the learning rate that the first seed's run on the same fold has found.

    That run searches itself, and its own settings keep what it has found. Without folds there is
    one rate for all seeds, so their deviation is that of runs with the same settings.
    """
    if request.training.lr != AUTO:
        return request

    def found() -> dict[str, Any] | None:
        first = next(r for r in plan_repeats(runs.request) if r.fold == repeat.fold)
        if first == repeat or not runs.directory.is_started(first.name):
            return None
        saved = read_settings(runs.directory.run(first.name) / ARGUMENTS)
        return {"from": first.name, "lr": saved["lr"], "lr_rule": saved["lr_rule"]}

    rate = runs.processes.main(found)
    if rate is None:
        return request
    runs.observer.on_note(f"The learning rate is {rate['lr']:g}, as found for {rate.pop('from')}.")
    training = request.training.model_copy(update=rate)
    return request.model_copy(update={"training": training})


def _data_notes(runs: _All) -> DataNotes | None:
    """Return the notes on the data set of all runs; None where each has one of its own."""
    if runs.folded is not None:
        return None if runs.folded.is_searched else runs.data_notes
    # Each seed draws other images to validate on.
    return runs.data_notes if runs.request.training.val_fraction is None else None


def _is_complete(runs: _All, repeat: Repeat) -> bool:
    """Return whether nothing is to be done for a run, with the settings as they are now."""
    path = runs.directory.run(repeat.name)
    needed = (ARGUMENTS, RESULT, *([PREDICTIONS] if runs.folded is not None else []))
    if not all((path / name).exists() for name in needed):
        return False
    saved, now = read_settings(path / ARGUMENTS), runs.request.to_arguments()
    return all(saved.get(name) == now[name] for name in LENGTH if name in now)


def _forget_outcome(path: Path) -> None:
    """Remove what says that a run is complete: it may go on, and be killed on its way."""
    for name in (PREDICTIONS, RESULT):
        (path / name).unlink(missing_ok=True)


def _changes(path: Path, request: FinetuneRequest) -> dict[str, Any]:
    """Return the settings of a run that are others by now."""
    saved, now = read_settings(path / ARGUMENTS), request.to_arguments()
    return {name: now[name] for name in MAY_CHANGE if name in now and saved.get(name) != now[name]}


def _of_all(problem: CovtoolError, runs: _All, repeat: Repeat) -> CovtoolError:
    """Return an error of a run whose hint goes on with all of them."""
    one = f"--resume {runs.directory.run(repeat.name)}"
    if problem.hint is None or one not in problem.hint:
        return problem
    return problem.with_hint(problem.hint.replace(one, f"--resume {runs.directory.path}"))


def _diverged(runs: _All, diverged: Sequence[tuple[Repeat, str]], count: int) -> NonFiniteError:
    names = ", ".join(repeat.name for repeat, _ in diverged)
    first, why = diverged[0]
    of_others = "the others are complete" if len(diverged) < count else "none is complete"
    return NonFiniteError(
        f"{len(diverged)} of {count} runs in {runs.directory.path} diverged: {names}; {of_others}.",
        reason=f"{first.name}: {why}",
        hint="There is no mean: that of the runs which did not diverge would be of a choice.\n"
        "Lower --lr in new runs, or let these pass over such updates: "
        f"covtool {runs.request.command} --resume {runs.directory.path} --on-nonfinite skip",
    )
