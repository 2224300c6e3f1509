"""The gain of gradient centralization in fine-tuning: with and without, from one calibrated start.

    python benchmarks/gradient_centralization.py MODEL --data cars30 --data dtd10 --output DIR

For each data set MODEL gets a calibrated covariance head, as in ``covtool convert MODEL --head
isqrt --calibrate DATA``, and is fine-tuned from there with every optimizer, with and without
``--gc``, once per seed. Learning rates are chosen beforehand, without ``--gc``, with a seed that is
not among those reported. What is finished is kept in DIR and not run again.
"""

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from covtool.conversion import ConversionRequest, convert
from covtool.specs import AugmentationSpec, FinetuneRequest, HeadSpec, ModelSource, TrainingSpec
from covtool.training import finetune

SEEDS = (1, 2, 3)
SEARCH_SEED = 0
T_975 = 4.303  # of Student's t with len(SEEDS) - 1 degrees of freedom

INPUT = {"size": (128, 128), "crop_mode": "squash", "crop_pct": 1.0}
PACE = {"cars30": {"epochs": 5, "batch_size": 32}, "dtd10": {"epochs": 8, "batch_size": 16}}
COMMON = {"head_lr_mult": 0.5, "channels_last": True, "workers": 0, "checkpoint_hist": 0}
OPTIMIZERS = {
    "sgd": {"weight_decay": 1e-4, "rates": (5e-4, 2e-3, 8e-3)},
    "adamw": {"weight_decay": 0.05, "rates": (2e-5, 1e-4, 5e-4)},
}
CENTRALIZATIONS = {
    "none": {},
    "gradient": {"gc": True, "gc_on": "gradient"},
    "update": {"gc": True, "gc_on": "update"},
}
COMPARED = (
    ("sgd", "none"),
    ("sgd", "gradient"),
    ("adamw", "none"),
    ("adamw", "gradient"),
    ("adamw", "update"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to: top-1 on the test images in percent, mean training loss in nats."""

    last: float
    best: float
    train_loss: float
    seconds: float


class Study:
    """Runs that are done once and remembered in a folder."""

    def __init__(self, model: str, output: Path) -> None:
        self.model = model
        self.output = output

    def start(self, data: Path) -> Path:
        """Build the calibrated model that every run on `data` starts from."""
        path = self.output / f"{data.name}.safetensors"
        if not path.exists():
            request = ConversionRequest(
                source=ModelSource(name=self.model, input=INPUT),
                operations=[HeadSpec(head="isqrt", dim=256, reduction="linear")],
                output=path,
                calibrate_with=data,
                workers=0,
            )
            done = convert(request)
            print(
                f"{data.name}: left-out top-1 {done.calibration.left_out_top_1:.1f} %", flush=True
            )
        return path

    def run(self, data: Path, opt: str, centralization: str, lr: float, seed: int) -> Outcome:
        """Return one run's figures, from its file if it was done before."""
        name = f"{data.name}-{opt}-{centralization}-lr{lr:g}-seed{seed}"
        remembered = self.output / f"{name}.json"
        if not remembered.exists():
            outcome = self._train(name, data, opt, centralization, lr, seed)
            remembered.write_text(json.dumps(asdict(outcome)))
            print(name, outcome, flush=True)
        return Outcome(**json.loads(remembered.read_text()))

    def _train(
        self, name: str, data: Path, opt: str, centralization: str, lr: float, seed: int
    ) -> Outcome:
        training = TrainingSpec(
            opt=opt,
            lr=lr,
            seed=seed,
            weight_decay=OPTIMIZERS[opt]["weight_decay"],
            **PACE[data.name],
            **COMMON,
            **CENTRALIZATIONS[centralization],
        )
        request = FinetuneRequest(
            model=str(self.start(data)),
            data=str(data),
            training=training,
            augmentation=AugmentationSpec(scale=(0.6, 1.0)),
            output=str(self.output / "runs"),
            experiment=name,
        )
        result = finetune(request)
        with (result.directory / "summary.csv").open() as file:
            *_, final = csv.DictReader(file)
        for folder in ("checkpoints", "exported"):
            shutil.rmtree(result.directory / folder)
        return Outcome(
            last=result.last,
            best=result.best,
            train_loss=float(final["train_loss"]),
            seconds=result.seconds,
        )

    def rate(self, data: Path, opt: str) -> float:
        """Find the learning rate with the best last epoch without centralization.

        While that is the least or the greatest rate tried, the next one is tried as well.
        """
        rates = list(OPTIMIZERS[opt]["rates"])
        factor = rates[1] / rates[0]
        while True:
            found = {lr: self.run(data, opt, "none", lr, SEARCH_SEED).last for lr in rates}
            best = max(found, key=found.get)
            if best == rates[0]:
                rates.insert(0, rates[0] / factor)
            elif best == rates[-1]:
                rates.append(rates[-1] * factor)
            else:
                return best


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    study = Study(arguments.model, arguments.output)
    rates = {(data, opt): study.rate(data, opt) for data in arguments.data for opt in OPTIMIZERS}
    outcomes: dict[tuple[Path, str, str], list[Outcome]] = {}
    for seed in SEEDS:
        for data in arguments.data:
            for opt, kind in COMPARED:
                outcome = study.run(data, opt, kind, rates[data, opt], seed)
                outcomes.setdefault((data, opt, kind), []).append(outcome)
    for data in arguments.data:
        print(f"\n{data.name}\n")
        print("\n".join(table({key[1:]: o for key, o in outcomes.items() if key[0] == data})))
        print(", ".join(f"{opt}: lr {rates[data, opt]:g}" for opt in OPTIMIZERS))


def table(outcomes: dict[tuple[str, str], list[Outcome]]) -> Iterator[str]:
    """Return Markdown: mean ± standard deviation over the seeds, then the effect of --gc."""
    yield "| optimizer | centralized | last top-1 | best top-1 | training loss | last: gain |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for (opt, kind), found in outcomes.items():
        spreads = [
            spread([getattr(o, name) for o in found], digits)
            for name, digits in (("last", 1), ("best", 1), ("train_loss", 3))
        ]
        plain = outcomes[opt, "none"]
        gains = [own.last - other.last for own, other in zip(found, plain, strict=True)]
        gain = "" if kind == "none" else interval(gains)
        yield f"| {opt} | {kind} | {' | '.join(spreads)} | {gain} |"


def spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def interval(differences: list[float]) -> str:
    """Mean of paired differences with the 95 % interval of Student's t."""
    center, half = mean(differences), T_975 * stdev(differences) / sqrt(len(differences))
    return f"{center:+.1f} [{center - half:+.1f}, {center + half:+.1f}]"


if __name__ == "__main__":
    main()
