"""Accuracy of a calibrated file on images of another size than it was calibrated at.

    python benchmarks/other_sizes.py MODEL --data monkeys10 [--made 128] [--arch NAME]

Prints a Markdown table: top-1 of `--head gap` and `--head isqrt`, calibrated once at `--made`.
"""

import argparse
import tempfile
from pathlib import Path

from covtool.conversion import ConversionRequest, convert
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.specs import HeadSpec, ModelSource

HEADS = ("gap", "isqrt")
RATIOS = (0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0)  # of the side


def measure(asked: argparse.Namespace, head: str, folder: Path) -> list[float]:
    """Top-1 at each ratio, in percent."""
    request = ConversionRequest(
        source=ModelSource(
            name=asked.model, arch=asked.arch, input={"size": (asked.made, asked.made)}
        ),
        operations=(HeadSpec(head=head),),
        output=folder / f"{head}.safetensors",
        calibrate_with=asked.data,
        workers=0,
    )
    made = str(convert(request).path)
    sides = [round(asked.made * ratio) for ratio in RATIOS]
    return [
        evaluate(
            EvaluationRequest(
                source=ModelSource(name=made, input={"size": (side, side)}),
                data=asked.data,
                workers=0,
            )
        ).result.top_1
        for side in sides
    ]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--made", type=int, default=128)
    parser.add_argument("--arch")
    asked = parser.parse_args()
    sides = [f"{round(asked.made * ratio)}" for ratio in RATIOS]
    print(f"| head, calibrated at {asked.made} px | {' | '.join(sides)} |")
    print(f"| --- |{' ---: |' * len(sides)}")
    with tempfile.TemporaryDirectory() as folder:
        for head in HEADS:
            figures = (f"{top_1:.1f} %" for top_1 in measure(asked, head, Path(folder)))
            print(f"| `{head}` | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
