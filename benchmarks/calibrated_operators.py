"""Share of a classifier that each decoupled operator keeps, calibrated, nothing trained.

    python benchmarks/calibrated_operators.py MODEL --data imagenette224 [--only NAME] [--json FILE]

Each row is what ``covtool convert MODEL --conv ... --calibrate DATA --calibrate-memory 3 --plan``
reports: top-1 on the validation images, agreement with the source, errors of the layers.
"""

import argparse
import json
from pathlib import Path

from covtool.conversion import ConversionRequest, plan_conversion
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.specs import ConvertSpec, ConvolutionSpec
from covtool.variants import CONVOLUTIONS

QUANTILE = 0.99
MEMORY = 3.0  # GiB: enough for 64 images at 224 px
QUANTILES = (0.8, 0.9)
DETAILED = "tanh"


def rows() -> dict[str, tuple[dict, float]]:
    """Options and radius quantile of each row: the table, then variations of one operator."""
    found = {row.name: ({"conv": row.name}, QUANTILE) for row in CONVOLUTIONS}
    for angular in ANGULAR_ACTIVATIONS:
        if angular.name != "cosine":
            found[f"{DETAILED} {angular.name}"] = (
                {"conv": DETAILED, "angular": angular.name},
                QUANTILE,
            )
    for quantile in QUANTILES:
        found[f"{DETAILED}, quantile {quantile:g}"] = ({"conv": DETAILED}, quantile)
    found[f"{DETAILED}, ρ per filter"] = ({"conv": DETAILED, "radius_per": "filter"}, QUANTILE)
    return found


def measure(model: str, data: Path, options: dict, quantile: float, workers: int) -> dict:
    """Measure the share that one operator keeps."""
    request = ConversionRequest(
        source=model,
        operations=(ConvolutionSpec(**options),),
        spec=ConvertSpec(radius_quantile=quantile, calibrate_memory=MEMORY),
        output=Path("unwritten.safetensors"),
        calibrate_with=data,
        workers=workers,
    )
    (report,) = plan_conversion(request).convolutions
    kept, fits = report.kept, report.calibration.layers
    beyond = [fit.beyond for fit in fits if fit.beyond is not None]
    return {
        "top_1": kept.top_1_after,
        "of_source": 100 * kept.top_1_after / kept.top_1_before,
        "agreement": kept.agreement,
        "layer_error": 100 * sum(fit.relative_error for fit in fits) / len(fits),
        "worst_layer_error": 100 * max(fit.relative_error for fit in fits),
        "beyond": sum(beyond) / len(beyond) if beyond else None,
        "calibrated_on": report.calibration.images,
        "top_1_before": kept.top_1_before,
        "images": kept.images,
    }


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", action="append", help="a row by name; may be repeated")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    print("| operator | top-1 | of the source's | same answers | error of a layer, mean / worst |")
    print("| --- | ---: | ---: | ---: | ---: |")
    measured = {}
    for name, (options, quantile) in rows().items():
        if asked.only and name not in asked.only:
            continue
        got = measured[name] = measure(asked.model, asked.data, options, quantile, asked.workers)
        print(
            f"| {name} | {got['top_1']:.1f} % | {got['of_source']:.1f} % "
            f"| {got['agreement']:.1f} % | {got['layer_error']:.1f} / "
            f"{got['worst_layer_error']:.1f} % |",
            flush=True,
        )
        if asked.json:
            asked.json.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
