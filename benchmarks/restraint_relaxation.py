"""The gain of restraint and relaxation iterations in retrieval of unseen classes.

    python benchmarks/restraint_relaxation.py MODEL --data cars30/retrieval.csv --output DIR

MODEL gets an Eigenlayer that starts at random, behind average pooling or behind a covariance head,
and is trained by ``covtool svdnet-rri``, once per seed, with cross entropy or with the triplet loss
beside it. Step 0 has the learning rate that makes its mAP best with a seed that is not among those
reported; the iterations have the published ones. ``plain`` trains for as many epochs without an
iteration. What is finished is kept in DIR and not run again; with --variant, several of these
commands may share the work. The tables are made of all that DIR holds.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from covtool.conversion import ConversionRequest, convert
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.plotting.half_steps import HalfStep, read_half_steps
from covtool.specs import (
    AugmentationSpec,
    EigenlayerSpec,
    FinetuneRequest,
    HeadSpec,
    LoadingSpec,
    ModelSource,
    ObjectiveSpec,
    RetrievalSpec,
    SearchSpec,
    SvdnetSpec,
    SvdnetTrainingSpec,
)
from covtool.training import finetune, resume_finetune

SEEDS = (1, 2, 3)
SEARCH_SEED = 0
RATES = (2e-3, 5e-3, 1.25e-2)  # of step 0

INPUT = {"size": (128, 128), "crop_mode": "squash", "crop_pct": 1.0}
EIGENLAYER = EigenlayerSpec(features=256, init="random")
PHASES = {"rri": 3, "restraint_epochs": 2, "relaxation_epochs": 2, "stop_delta": 0.0}
BASE_EPOCHS = 8
COMMON = {"batch_size": 32, "channels_last": True, "workers": 0, "checkpoint_hist": 0}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is trained, and how.

    Attributes:
        head: In place of average pooling.
        objective: Loss and sampler.
        phases: In place of those of `PHASES`.
    """

    head: HeadSpec | None = None
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    phases: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the model that it starts from."""
        return "gap" if self.head is None else self.head.head


EPOCHS = BASE_EPOCHS + PHASES["rri"] * (PHASES["restraint_epochs"] + PHASES["relaxation_epochs"])
COVARIANCE = HeadSpec(head="isqrt", dim=128, tap="blocks", reduction="linear")
VARIANTS = {
    "gap": Variant(),
    "isqrt": Variant(head=COVARIANCE),
    "triplet": Variant(objective=ObjectiveSpec(loss="ce+0.1*triplet", sampler="pk")),
    "plain": Variant(phases={"rri": 0, "base_epochs": EPOCHS}),
    "u": Variant(phases={"decomposition": "u"}),
    "uv": Variant(phases={"decomposition": "uv"}),
    "qr": Variant(phases={"decomposition": "qr"}),
    "keep": Variant(phases={"classifier": "keep"}),
}
RATE_OF = {"triplet": "gap", "plain": "gap", "u": "gap", "uv": "gap", "qr": "gap", "keep": "gap"}
"""Whose learning rate a variant has that is compared with another."""


class Study:
    """Runs that are done once and remembered in a folder."""

    def __init__(self, model: str, data: Path, output: Path) -> None:
        self.model = model
        self.data = data
        self.output = output

    def start(self, variant: Variant) -> Path:
        """Build the model that runs start from."""
        path = self.output / f"{variant.name}.safetensors"
        if not path.exists():
            heads = [] if variant.head is None else [variant.head]
            convert(
                ConversionRequest(
                    source=ModelSource(name=self.model, input=INPUT),
                    operations=[*heads, EIGENLAYER],
                    output=path,
                    calibrate_with=self.data if heads else None,
                    workers=0,
                )
            )
        return path

    def frozen(self, variant: Variant) -> tuple[float, float]:
        """Rank-1 and mAP of what enters the Eigenlayer before anything is trained."""
        request = RetrievalRequest(
            source=str(self.start(variant)),
            data=self.data,
            spec=RetrievalSpec(feature="pooled"),
            workers=0,
        )
        result = retrieve(request).result
        return result.rank_1, result.mean_average_precision

    def directory(self, name: str, seed: int, lr: float) -> Path:
        """Return the folder of a run."""
        return self.output / "svdnet-rri" / f"{name}-lr{lr:g}-seed{seed}"

    def run(self, name: str, seed: int, lr: float, **phases: Any) -> tuple[HalfStep, ...]:
        """Return a run's half-steps, from its files if it was done before."""
        directory, variant = self.directory(name, seed, lr), VARIANTS[name]
        if not directory.exists():
            settings = {"base_epochs": BASE_EPOCHS, **PHASES, **variant.phases, **phases}
            finetune(
                FinetuneRequest(
                    model=str(self.start(variant)),
                    data=str(self.data),
                    training=SvdnetTrainingSpec(lr=lr, seed=seed, **COMMON),
                    svdnet=SvdnetSpec(**settings),
                    search=SearchSpec(),
                    objective=variant.objective,
                    augmentation=AugmentationSpec(scale=(0.6, 1.0)),
                    loading=LoadingSpec(cache="ram"),
                    output=str(self.output),
                    experiment=directory.name,
                )
            )
        elif not (directory / "result.json").exists():
            resume_finetune(directory)
        for folder in ("checkpoints", "exported"):
            shutil.rmtree(directory / folder, ignore_errors=True)
        return read_half_steps(directory)

    def rate(self, name: str) -> float:
        """Find the learning rate with the best mAP after step 0."""
        name = RATE_OF.get(name, name)
        found = {lr: self.run(name, SEARCH_SEED, lr, rri=0)[-1] for lr in RATES}
        return max(found, key=lambda lr: found[lr].mean_average_precision)

    def runs(self, name: str) -> list[tuple[HalfStep, ...]]:
        """Return the figures of all seeds."""
        lr, found = self.rate(name), []
        for seed in SEEDS:
            found.append(self.run(name, seed, lr))
            last = found[-1][-1]
            print(name, lr, seed, last.rank_1, last.mean_average_precision, flush=True)
        return found


def table(name: str, lr: float, runs: Sequence[Sequence[HalfStep]]) -> Iterator[str]:
    """Return a row for each half-step: mean and standard deviation over the seeds."""
    yield f"**{name}**, step 0 with lr {lr:g}\n"
    yield "| half-step | S(W) | train loss | rank-1 (%) | mAP (%) |"
    yield "| --- | --- | --- | --- | --- |"
    for steps in zip(*runs, strict=True):
        columns = [
            _spread([s.correlation for s in steps], 3),
            "" if steps[0].train_loss is None else _spread([s.train_loss for s in steps], 2),
            _spread([s.rank_1 for s in steps], 1),
            _spread([s.mean_average_precision for s in steps], 1),
        ]
        yield f"| {steps[0].phase} | {' | '.join(columns)} |"
    yield ""


def differences(
    title: str, runs: Sequence[Sequence[HalfStep]], others: Sequence[Sequence[HalfStep]] | None
) -> str:
    """Compare the last half-step with step 0 of the same run, or with the last of the other's."""
    lasts = [steps[-1] for steps in runs]
    firsts = [steps[-1] for steps in others] if others else [_base(steps) for steps in runs]
    pairs = list(zip(lasts, firsts, strict=True))
    rank_1 = [a.rank_1 - b.rank_1 for a, b in pairs]
    precision = [a.mean_average_precision - b.mean_average_precision for a, b in pairs]
    return f"| {title} | {_spread(rank_1, 1, sign='+')} | {_spread(precision, 1, sign='+')} |"


def _base(steps: Sequence[HalfStep]) -> HalfStep:
    return next(step for step in steps if step.phase == "base")


def _spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    return f"{mean(values):{sign}.{digits}f} ± {stdev(values):.{digits}f}"


def main() -> None:
    """Run the study, or what is left of it, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    study = Study(arguments.model, arguments.data.resolve(), arguments.output)
    names = arguments.variant or list(VARIANTS)
    found = {name: study.runs(name) for name in names}
    for variant in {VARIANTS[name].name: VARIANTS[name] for name in names}.values():
        rank_1, precision = study.frozen(variant)
        print(f"frozen, {variant.name}: rank-1 {rank_1:.1f} %, mAP {precision:.1f} %")
    for name, runs in found.items():
        print("\n".join(table(name, study.rate(name), runs)))
    print("| last half-step against | rank-1 | mAP |\n| --- | --- | --- |")
    for name, runs in found.items():
        if len(runs[0]) > 2:
            print(differences(f"{name}: its own step 0", runs, None))
        if name != "gap" and RATE_OF.get(name) == "gap" and "gap" in found:
            print(differences(f"gap: {name}", found["gap"], runs))


if __name__ == "__main__":
    main()
