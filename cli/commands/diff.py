"""`covtool diff`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covtool.errors import ArgumentError
from covtool.figure_names import figure_title
from covtool.printable import first_few
from covtool.run_files.finals import EARLY, GUESS
from covtool_cli import first_checks, loading, options

if TYPE_CHECKING:
    from covtool.differences import ModelDifference, RepeatedDifference, RunDifference
    from covtool.differences.recipes import FieldDifference, RecipeDifference
    from covtool.ops.t_intervals import Spread

MOST_GROUPS = 30
SHOWN_CLASSES = 10
SHOWN_STEPS = 10
NO_RECIPES = "Recipes: not compared, as one of the models is not recognized."

Sides = Annotated[
    list[str],
    typer.Argument(
        metavar="A B",
        help="Two of: a covtool file, a run's folder, RUN@last, a checkpoint, a name. With "
        "--against: runs.",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN",
        help="Run to compare the final figures of the others with, by a t interval; may be "
        "repeated, and a folder of several runs stands for all of them.",
    ),
]
EveryTensor = Annotated[
    bool, typer.Option("--all", help="Show every tensor that differs, not modules.")
]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if they differ.")]


def command(
    sides: Sides,
    against: Against = None,
    every_tensor: EveryTensor = False,
    exit_code: ExitCode = False,
    max_model_size: options.MaxModelSize = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what differs between two models, two runs, or the figures of two groups of runs.

    Of a run beside a model, the best exported model is compared.

    Example: covtool diff start.safetensors runs/finetune/birds

    Example: covtool diff runs/finetune/with-gc --against runs/finetune/without
    """
    if not against and len(sides) != 2:
        raise ArgumentError(
            f"covtool diff compares two, and {len(sides)} {'is' if len(sides) == 1 else 'are'} "
            "given.",
            hint="Usage: covtool diff A B, or covtool diff RUNS --against RUNS.",
        )
    if against and every_tensor:
        raise ArgumentError("--all has no effect with --against: no tensors are compared.")
    if against:
        first_checks.require_runs_to_compare(*sides, *against)
    else:
        first_checks.require_some_models(*sides)
    with loading.libraries(as_json=as_json):
        from covtool.differences import RepeatedDifference, RunDifference, compare, compare_repeats
        from covtool_cli import render

    found = compare_repeats(sides, against) if against else compare(*sides, track=render.track)
    for text in found.notes:
        render.note(f"note: {text}")
    if as_json:
        render.json_object({"differs": found.differs, **render.plain(found)})
    elif isinstance(found, RepeatedDifference):
        _show_repeated(found)
    elif isinstance(found, RunDifference):
        _show_runs(found)
    else:
        _show_models(found, every_tensor=every_tensor)
    if exit_code and found.differs:
        raise typer.Exit(1)


def _show_models(found: "ModelDifference", *, every_tensor: bool) -> None:
    from covtool_cli import render

    if not found.differs:
        recipes = "" if found.recipe is None else "recipes and "
        tensors = render.counted(len(found.tensors), "tensor")
        render.line(f"No differences: {recipes}{tensors} equal.")
        if found.recipe is None:
            render.line(NO_RECIPES)
        return
    if found.recipe is None:
        render.line(NO_RECIPES)
    elif not found.recipe.differs:
        render.line("Recipes: equal.")
    else:
        _show_recipes(found.recipe)
    kinds = Counter(tensor.kind for tensor in found.tensors)
    in_words = ", ".join(f"{count:,} {WORDS[kind]}" for kind, count in kinds.most_common())
    render.line(f"Tensors: {in_words}.")
    if every_tensor:
        _show_tensors(found)
    elif set(kinds) != {"equal"}:
        _show_groups(found)


WORDS = {
    "equal": "equal",
    "changed": "changed",
    "dtype": "equal in another dtype",
    "shape": "of another shape",
    "new": "new",
    "gone": "gone",
}
"""What became of a tensor, in words."""


def _show_recipes(found: "RecipeDifference") -> None:
    from covtool_cli import render

    _show_fields("Recipes", found.fields)
    if found.classes is not None:
        rows = (("gone", "gone"), ("new", "new"), ("another output", "moved"))
        named = [(word, getattr(found.classes, field)) for word, field in rows]
        render.pairs(
            "Classes",
            [
                (f"{word}, {len(names)}", first_few(names, SHOWN_CLASSES))
                for word, names in named
                if names
            ],
        )
    if found.history is not None:
        steps = [("A", found.history.before), ("B", found.history.after)]
        render.line(f"History, after {render.counted(found.history.shared, 'equal step')}")
        for side, lines in steps:
            for line in lines[:SHOWN_STEPS] or ["nothing"]:
                render.line(f"  {side}: {line}")
            if len(lines) > SHOWN_STEPS:
                render.line(f"  {side}: and {len(lines) - SHOWN_STEPS:,} more")


def _show_fields(
    title: str, fields: "Sequence[FieldDifference]", *, names: tuple[str, str] = ("A", "B")
) -> None:
    from covtool_cli import render

    if fields:
        rows = [(one.field, _value(one.before), _value(one.after)) for one in fields]
        render.table(title, ("field", *names), rows)


def _value(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _show_tensors(found: "ModelDifference") -> None:
    from covtool_cli import render

    render.table(
        "",
        ("tensor", "what", "A", "B", "relative", "largest"),
        [
            (
                tensor.name,
                WORDS[tensor.kind],
                tensor.before,
                tensor.after,
                tensor.relative,
                tensor.largest,
            )
            for tensor in found.tensors
            if tensor.kind != "equal"
        ],
    )


def _show_groups(found: "ModelDifference") -> None:
    from covtool.differences.tensors import grouped
    from covtool_cli import render

    groups = [
        group for group in grouped(found.tensors, MOST_GROUPS) if set(group.counts) != {"equal"}
    ]
    shown = groups[:MOST_GROUPS]
    render.table(
        "",
        ("module", "tensors", "relative", "largest"),
        [
            (
                group.name or "-",
                ", ".join(f"{count:,} {WORDS[kind]}" for kind, count in group.counts.items()),
                group.relative,
                group.largest,
            )
            for group in shown
        ],
    )
    if len(groups) > len(shown):
        more = render.counted(len(groups) - len(shown), "module")
        render.line(f"and {more} more: --all shows every tensor.")


def _show_repeated(found: "RepeatedDifference") -> None:
    from covtool_cli import render

    _show_fields("Settings", found.settings, names=("RUNS", "AGAINST"))
    pairs = f"{render.counted(len(found.runs), 'pair')} of runs"
    groups = f"{render.counted(len(found.runs), 'run')} against {len(found.against):,}"
    title = f"Difference, {pairs if found.paired else groups}, {found.confidence:.0%} t interval"
    render.table(
        title,
        ("figure", "RUNS", "AGAINST", "difference", "interval"),
        [
            (
                figure_title(one.figure),
                _spread(one.runs) + _mark(found, found.runs, one.figure),
                _spread(one.against) + _mark(found, found.against, one.figure),
                f"{one.interval.difference:+.4g}",
                "-" if one.interval.bounds is None else _ends(*one.interval.bounds),
            )
            for one in found.figures
        ],
    )
    for which, doubtful, what in (
        ("best", found.guesses, GUESS),
        ("last", found.stopped_early, EARLY),
    ):
        if doubtful:
            count = len(found.runs) + len(found.against)
            render.line(f"{_MARKS[which].strip()} {len(doubtful)} of {count} runs: {what}")


_MARKS = {"best": " *", "last": " +"}
"""Marks of figures, by what they are of, that runs on their side make doubtful."""


def _mark(found: "RepeatedDifference", runs: "Sequence[Path]", figure: str) -> str:
    """Return the mark of a figure that is of guesses, or of runs that ended early."""
    which = figure.partition("_")[0]
    doubtful = {"best": found.guesses, "last": found.stopped_early}.get(which, ())
    return _MARKS[which] if set(doubtful) & set(runs) else ""


def _spread(spread: "Spread") -> str:
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.2g}"
    return f"{spread.mean:.4g}{deviation}"


def _ends(low: float, high: float) -> str:
    return f"{low:+.4g} to {high:+.4g}"


def _show_runs(found: "RunDifference") -> None:
    from covtool_cli import render

    if not found.differs:
        *others, last = found.compared
        parts = f"{', '.join(others)} and {last}" if others else last
        render.line(f"No differences: {parts} are equal.")
    _show_fields("Settings", found.settings)
    _show_fields("Environment", found.environment or ())
    if found.images is False:
        render.line("Images: the runs were started with different ones.")
    for epoch in found.epochs:
        names = dict.fromkeys((*(epoch.before or ()), *(epoch.after or ())))
        rows = [
            (figure_title(name), _cell(epoch.before, name), _cell(epoch.after, name))
            for name in names
        ]
        if rows:
            render.table(f"{epoch.which.capitalize()} epoch", ("", "A", "B"), rows)


def _cell(values: Mapping[str, Any] | None, name: str) -> Any:
    return None if values is None else values.get(name)
