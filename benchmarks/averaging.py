"""Accuracy of averages: the line between start and end, soups of epochs, soups of runs.

    python benchmarks/averaging.py START RUN [RUN ...] --data cars30.csv --work FOLDER

START is the file that every RUN was fine-tuned from, each with another seed; epochs are those of
the first. Points of the line and greedy soups are chosen on the validation images of the data set,
everything is measured on its test images. Averages and figures are kept in FOLDER: called again,
the script goes on.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from torch import Tensor

from covtool import open_model
from covtool.averaging import AverageRequest, average
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.evaluation.classification.accuracy import evaluate_classification
from covtool.evaluation.classification.class_matching import match_classes

EPOCHS = 3
"""Last epochs of a run that are averaged."""


class Kept:
    """Figures by name, in a file that grows.

    Args:
        folder: Folder of the file and of the averages.
        data: Data set.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.file = folder, data, folder / "figures.json"
        self.batches: list[tuple[Tensor, Tensor]] = []
        self.figures = json.loads(self.file.read_text()) if self.file.exists() else {}

    def once(self, name: str, compute: Callable[[], object]) -> object:
        """Return a figure, computed when it is asked for the first time."""
        if name not in self.figures:
            self.figures[name] = compute()
            self.file.write_text(json.dumps(self.figures, indent=1))
        return self.figures[name]

    def average(self, name: str, **fields: object) -> dict[str, object]:
        """Return what was measured while an average was made."""
        output = self.folder / f"{name}.safetensors"

        def made() -> dict[str, object]:
            done = average(AverageRequest(output=output, overwrite=True, **fields))
            return {
                "path": str(output),
                "taken": [source.name for source in done.sources],
                "points": [(p.alpha, p.top_1) for p in done.points],
                "alpha": next((p.alpha for p in done.points if p.taken), None),
            }

        return self.once(name, made)

    def test(self, model: str) -> tuple[float, float]:
        """Return top-1 in percent and loss of a model on the test images."""

        def measured() -> tuple[float, float]:
            opened, layout = open_model(model), scan(self.data)
            recipe = opened.recipe
            if not self.batches:
                self.batches = list(evaluation_loader(layout.samples("test"), recipe.input))
            match = match_classes(recipe.class_names, layout.class_names, recipe.num_classes)
            found = evaluate_classification(
                opened.model, self.batches, label_map=match.label_map, class_names=match.names
            )
            return found.top_1, found.loss

        return tuple(self.once(f"test of {model}", measured))


def lines(kept: Kept, start: str, runs: list[str]) -> tuple[list[list[object]], list[list[object]]]:
    """Return rows on the test images and on the validation images, a run each."""
    on_test, on_validation = [], []
    for number, run in enumerate(runs):
        between = (start, f"{run}@last")
        best = kept.average(f"line-{number}", between=between, data=kept.data)
        models = (start, between[1], best["path"])
        on_test.append([number, best["alpha"], *(kept.test(model) for model in models)])
        on_validation.append([number, *(top_1 for _, top_1 in best["points"])])
    return on_test, on_validation


def epochs_of(run: str) -> list[str]:
    """Return the states of the last epochs of a run."""
    states = Path(run, "checkpoints").glob("epoch-*.pt")
    numbers = sorted(int(state.stem.partition("-")[2]) for state in states)
    return [f"{run}@epoch-{number}" for number in numbers[-EPOCHS:]]


def soups(kept: Kept, runs: list[str]) -> list[tuple[str, list[object]]]:
    """Return what a soup is of, and its figures on the test images beside those of its parts."""
    rows = []
    states = epochs_of(runs[0])
    soup = kept.average("epochs", models=tuple(states))
    parts = [kept.test(state)[0] for state in states]
    rows.append((f"last {len(states)} epochs of run 0", parts, soup))
    ends = tuple(f"{run}@last" for run in runs)
    parts = [kept.test(end)[0] for end in ends]
    rows.append(("runs, uniform", parts, kept.average("uniform", models=ends)))
    greedy = kept.average("greedy", models=ends, greedy=True, data=kept.data)
    rows.append((f"runs, greedy: {len(greedy['taken'])} of {len(ends)}", parts, greedy))
    return [(name, [parts, *kept.test(soup["path"])]) for name, parts, soup in rows]


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    head = f"| {' | '.join(columns)} |\n| {' | '.join('---:' for _ in columns)} |"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    kept = Kept(given.work, given.data)

    on_test, on_validation = lines(kept, given.start, given.runs)
    rows = [[str(n), f"{a:.1f}", *(f"{t:.2f} ({x:.3f})" for t, x in f)] for n, a, *f in on_test]
    means = (mean(row[column][0] for row in on_test) for column in range(2, 5))
    rows.append(["mean", "", *(f"{value:.2f}" for value in means)])
    print("Line between start and end, top-1 in percent (loss) on test images:\n")
    print(table(["run", "point", "start", "end", "chosen point"], rows))
    points = [f"{alpha:.1f}" for alpha, _ in kept.figures["line-0"]["points"]]
    print("\nThe same lines, top-1 in percent on the validation images that chose:\n")
    rows = [[str(n), *(f"{top_1:.1f}" for top_1 in top_1s)] for n, *top_1s in on_validation]
    print(table(["run", *points], rows))
    print("\nSoups, top-1 in percent on test images:\n")
    rows = [
        [name, ", ".join(f"{part:.2f}" for part in parts), f"{mean(parts):.2f}", f"{top_1:.2f}"]
        for name, (parts, top_1, _) in soups(kept, given.runs)
    ]
    print(table(["soup of", "each model", "mean of models", "soup"], rows))


if __name__ == "__main__":
    main()
